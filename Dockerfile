# The image of one project: docker build --build-arg PROJECT=users .
# BASE may name a digest: python:3.13-slim-trixie@sha256:…
# pip installs from where the secrets pip-index-url, pip-conf and pip-cert name, if they are given; no layer keeps them.
ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS build
# For strip, which removes debug symbols.
# hadolint ignore=DL3008,DL3009
RUN apt-get update --quiet --quiet && apt-get install --yes --quiet --quiet --no-install-recommends binutils
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
ARG PROJECT
COPY requirements/${PROJECT}.txt /tmp/
RUN --mount=type=secret,id=pip-index-url --mount=type=secret,id=pip-conf --mount=type=secret,id=pip-cert \
    secrets=/run/secrets; \
    [ ! -s $secrets/pip-index-url ] || { PIP_INDEX_URL=$(cat $secrets/pip-index-url); export PIP_INDEX_URL; }; \
    [ ! -s $secrets/pip-conf ] || export PIP_CONFIG_FILE=$secrets/pip-conf; \
    [ ! -s $secrets/pip-cert ] || export PIP_CERT=$secrets/pip-cert; \
    pip install --quiet --require-hashes -r "/tmp/${PROJECT}.txt"
COPY chassis /tmp/chassis
RUN pip install --quiet --no-index --no-deps --no-build-isolation /tmp/chassis \
    # What only builds: installers. What nothing serves: translations, since the pages are English, and source maps.
    && pip uninstall --quiet --yes setuptools pip \
    && find /opt/venv \( -name '*.po' -o -name '*.mo' ! -path '*/locale/en/*' -o -name '*.map' \) -delete \
    # psycopg's name the libraries beside them in a way that strip may break.
    && find /opt/venv -name '*.so' ! -path '*/psycopg_binary/*' -exec strip --strip-unneeded {} +
COPY ${PROJECT}_project /srv/app
RUN python -m compileall -q /opt/venv/lib /srv/app

FROM ${BASE}
RUN install -d -o 10001 -g 10001 -m 0700 /var/lib/gatehouse
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 GATEHOUSE_VAR=/var/lib/gatehouse \
    # Where the three listen: on all interfaces of the container.
    GATEWAY_BIND=0.0.0.0 USERS_BIND=0.0.0.0 ORDERS_BIND=0.0.0.0 \
    # Blocks of memory as large as a password hash's are given back: glibc would keep one for every thread.
    MALLOC_MMAP_THRESHOLD_=1048576
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/app /srv/app
WORKDIR /srv/app
USER 10001:10001
HEALTHCHECK --interval=5s --timeout=3s --start-period=120s CMD ["/srv/app/container/healthy"]
CMD ["/srv/app/container/start"]
