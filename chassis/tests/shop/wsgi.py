from chassis.wsgi import UTF8Handler

application = UTF8Handler()
