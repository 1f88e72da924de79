"""The dashboard for admins: traffic, addresses, limits, problems, sign-ins, keys and configuration on one page.

figures   what the history counted, by route, service and address; no I/O
charts    the same over time, as the geometry of SVG charts; no I/O
state     what the workers, the database and the files have now
pages     the views
"""
