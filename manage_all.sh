#!/usr/bin/env bash
# Everything one does with the three projects together. `./manage_all.sh help` says what there is.
set -euo pipefail
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
root=$PWD
projects=(users orders gateway)

usage() {
  cat <<'EOF'
usage: ./manage_all.sh COMMAND

  up [-d] [NAME...]     install, migrate and start users, orders and gateway (or only those named), and wait until they
                        are ready; stays in the foreground until Ctrl-C, or returns once ready with -d
  down [NAME...]        stop them
  reload [NAME...]      install, migrate, and start new workers with the code and gateway.yaml as they are now; no request
                        is lost
  status [NAME...]      what is running, and where; what is not ready, and why
  logs [NAME...]        follow their logs
  test [ARG...]         the test suite; arguments go to each pytest, such as -m long for the long tests
  check                 lint, types, import rules, Django's checks, migrations, known vulnerabilities, documentation
  bench [OPTION...]     measure the gateway beside Envoy, nginx, Fastify and FastAPI, the --orders service, or this
                        checkout --against another; --help lists the options
  lock                  pin requirements/*.txt anew from requirements/*.in
  help                  this
  NAME ARG...           manage.py of that project: ./manage_all.sh gateway routes
EOF
}

say() { printf '%s\n' "$*" >&2; }
fail() { say "manage_all.sh: $*"; exit 1; }

# A relative path is one from where the command was typed; one of .env, from where that file is.
for name in GATEHOUSE_VAR GATEHOUSE_VENV GATEWAY_CONFIG; do
  [[ -z ${!name:-} || ${!name} == /* ]] || export "$name=$caller/${!name}"
done

# Variables that are already set win over the file's. Its lines are read as Docker Compose reads them.
env_line='^[[:space:]]*(export[[:space:]]+)?([A-Za-z_][A-Za-z0-9_]*)[[:space:]]*=[[:space:]]*(.*)$'
double_quoted='^"([^"]*)"[[:space:]]*(#.*)?$'
single_quoted="^'([^']*)'[[:space:]]*(#.*)?$"
if [[ -f .env ]]; then
  number=0
  while IFS='' read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    line=${line%$'\r'}
    [[ ! $line =~ ^[[:space:]]*(#.*)?$ ]] || continue
    # The line itself may hold a secret.
    [[ $line =~ $env_line ]] || fail ".env, line $number: expected NAME=value"
    name=${BASH_REMATCH[2]} value=${BASH_REMATCH[3]}
    if [[ $value =~ $double_quoted || $value =~ $single_quoted ]]; then
      value=${BASH_REMATCH[1]}
    else
      value=${value%%[[:space:]]#*}
      value=${value%"${value##*[![:space:]]}"}
    fi
    [[ -z ${!name+set} ]] || continue
    [[ ! $name =~ ^(GATEHOUSE_VAR|GATEHOUSE_VENV|GATEWAY_CONFIG)$ || -z $value || $value == /* ]] || value=$root/$value
    export "$name=$value"
  done < .env
fi
export GATEHOUSE_VAR=${GATEHOUSE_VAR:-$root/var}
mkdir -p "$GATEHOUSE_VAR"
GATEHOUSE_VAR=$(cd "$GATEHOUSE_VAR" && pwd)
export GATEWAY_PORT=${GATEWAY_PORT:-8001} USERS_PORT=${USERS_PORT:-8002} ORDERS_PORT=${ORDERS_PORT:-8003}
venv=${GATEHOUSE_VENV:-$root/.venv}
run=$GATEHOUSE_VAR/run
logs=$GATEHOUSE_VAR/logs

port() {
  case $1 in
    gateway) echo "$GATEWAY_PORT" ;;
    users) echo "$USERS_PORT" ;;
    orders) echo "$ORDERS_PORT" ;;
  esac
}

# host NAME: the address at which it is reached from here, without brackets.
host() {
  local bind=${1^^}_BIND
  bind=${!bind:-127.0.0.1}
  bind=${bind#[}
  bind=${bind%]}
  case $bind in
    0.0.0.0) echo 127.0.0.1 ;;
    ::) echo ::1 ;;
    *) echo "$bind" ;;
  esac
}

# url NAME: where it is reached from here.
url() {
  local address
  address=$(host "$1")
  [[ $address != *:* ]] || address="[$address]"
  echo "http://$address:$(port "$1")"
}

USERS_URL=${USERS_URL:-$(url users)}
ORDERS_URL=${ORDERS_URL:-$(url orders)}
JWKS_URL=${JWKS_URL:-$(url gateway)/.well-known/jwks.json}
export USERS_URL ORDERS_URL JWKS_URL

ready_url() {
  case $1 in
    gateway) echo "$(url gateway)/$2" ;;
    *) echo "$(url "$1")/healthz" ;;
  esac
}

known() {
  local name
  for name in "$@"; do
    [[ " ${projects[*]} " == *" $name "* ]] || fail "expected one of: ${projects[*]}; got '$name'"
  done
}

# install KIND FILE...: the pinned packages of these files, once for each content that they have.
install() {
  local kind=$1 wanted python=${PYTHON:-python3}
  shift
  if [[ ! -x $venv/bin/python ]]; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
      fail "expected Python 3.11 or later as '$python'; PYTHON=... names another one"
    say "Making $venv"
    "$python" -m venv "$venv"
  fi
  wanted=$(cat "$@" | cksum)
  [[ -f $venv/.installed-$kind && $(<"$venv/.installed-$kind") == "$wanted" ]] && return
  say "Installing ${*}"
  local arguments=() file
  for file in "$@"; do arguments+=(-r "$file"); done
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes "${arguments[@]}"
  echo "$wanted" > "$venv/.installed-$kind"
}

# The chassis, from the checkout and in place: a change to it needs no second install. What it imports is pinned above.
install_chassis() {
  local wanted
  wanted="$root $(cksum < chassis/pyproject.toml)"
  [[ -f $venv/.installed-chassis && $(<"$venv/.installed-chassis") == "$wanted" ]] && return
  say 'Installing chassis'
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation \
    --editable ./chassis
  echo "$wanted" > "$venv/.installed-chassis"
}

install_projects() { install run requirements/{gateway,users,orders}.txt; install_chassis; }
install_tools() { install dev requirements/dev.txt; install_chassis; }

django() {
  local name=$1
  shift
  (cd "$root/${name}_project" && exec "$venv/bin/python" manage.py "$@")
}

# pid NAME: the process id of the gunicorn that we started for it, if it still is that.
pid() {
  local file=$run/$1.pid number
  [[ -f $file ]] && read -r number < "$file" && [[ -n $number ]] || return 1
  ps -ww -p "$number" -o args= 2>/dev/null | grep -qF -- "--pid $file" && echo "$number"
}

# left NAME: the workers of it that have outlived a master that was killed, until they notice that themselves.
left() {
  ! pid "$1" >/dev/null || return 0
  # By the environment: awk's own arguments must not be found.
  ps -ww -eo pid=,args= | started_with="--pid $run/$1.pid" awk 'index($0, ENVIRON["started_with"]) { print $1 }'
}

# end_left NAME: end those; they hold the port, and nobody reloads or stops them.
end_left() {
  local numbers deadline=$((SECONDS + 25)) how=TERM
  mapfile -t numbers < <(left "$1")
  ((${#numbers[@]} == 0)) || say "$1 was killed; ending the workers that it has left"
  while ((${#numbers[@]})); do
    ((SECONDS < deadline)) || how=KILL
    kill "-$how" "${numbers[@]}" 2>/dev/null || true
    # One that was stopped hears of nothing else.
    kill -CONT "${numbers[@]}" 2>/dev/null || true
    sleep 0.1
    mapfile -t numbers < <(left "$1")
  done
}

answers() {
  "$venv/bin/python" - "$1" <<'EOF' 2>/dev/null
import sys, urllib.request
urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1], timeout=2)
EOF
}

# Migrations are such that what is running goes on with them.
prepare() {
  local name=$1
  django "$name" migrate --verbosity 0
  [[ $name != users ]] || pid "$name" >/dev/null || django users demo_users
}

# check_port NAME: fail if another program has its port.
check_port() {
  ! (exec 3<> "/dev/tcp/$(host "$1")/$(port "$1")") 2>/dev/null ||
    fail "port $(port "$1") is in use; ${1^^}_PORT=... gives $1 another one"
}

start() {
  local name=$1 application=${1}_project.wsgi
  [[ $name != gateway ]] || application=gateway_project.asgi
  if pid "$name" >/dev/null; then
    say "$name is running already"
    return
  fi
  rm -f "$run/$name.pid"
  url "$name" > "$run/$name.url"
  (
    cd "$root/${name}_project"
    # Blocks of memory as large as a password hash's are given back: glibc would keep one for every thread.
    [[ $name != users ]] || export MALLOC_MMAP_THRESHOLD_=1048576
    exec setsid "$venv/bin/gunicorn" -c gunicorn.conf.py --pid "$run/$name.pid" "$application" \
      >> "$logs/$name.log" 2>&1 < /dev/null
  ) &
  started[$name]=$!
}

# await NAME PATH: until it answers there with success; 1 where the gateway runs and is not ready after a minute.
await() {
  local name=$1 what=$2 deadline=$((SECONDS + 60))
  until answers "$(ready_url "$name" "$what")"; do
    if [[ -n ${started[$name]:-} ]] && ! kill -0 "${started[$name]}" 2>/dev/null; then
      tail -n 15 "$logs/$name.log" >&2
      fail "$name did not start; the end of $logs/$name.log is above"
    fi
    if ((SECONDS >= deadline)); then
      [[ $what != readyz ]] || return 1
      fail "$name was not ready after 60 s; see $logs/$name.log"
    fi
    sleep 0.1
  done
}

stop() {
  local name deadline
  local -A numbers=()
  for name in "$@"; do
    numbers[$name]=$(pid "$name") && kill -TERM "${numbers[$name]}" 2>/dev/null || true
  done
  for name in "$@"; do
    deadline=$((SECONDS + 25))
    [[ $name != gateway ]] || deadline=$((deadline + ${DRAIN_SECONDS:-0}))
    # The process itself, not its pid file, which gunicorn removes a moment before it ends.
    while [[ -n ${numbers[$name]} ]] && kill -0 "${numbers[$name]}" 2>/dev/null; do
      if ((SECONDS >= deadline)); then
        say "$name did not stop in time; killing it"
        pkill -KILL -g "${numbers[$name]}" || true
        deadline=$((SECONDS + 25))
      fi
      sleep 0.05
    done
    end_left "$name"
    rm -f "$run/$name.pid" "$run/$name.url"
    if [[ -n ${numbers[$name]} ]]; then say "$name is stopped"; else say "$name was not running"; fi
  done
}

reload() {
  local name number away=() lines failed=''
  install_projects
  for name in "$@"; do
    if number=$(pid "$name"); then
      prepare "$name"
      lines=$(wc -l < "$logs/$name.log")
      kill -HUP "$number"
      say "$name is starting new workers; if it cannot, the old ones stay, and $logs/$name.log says why"
      [[ $name != gateway ]] || confirm "$((lines + 1))" || failed=1
    else
      away+=("$name")
    fi
  done
  ((${#away[@]} == 0)) || fail "not running: ${away[*]}; ./manage_all.sh up -d ${away[*]} starts what is not"
  [[ -z $failed ]] || exit 1
}

# confirm LINE: say what the gateway's log has of the reload from that line on; 1 where it is not what was asked for.
confirm() {
  "$venv/bin/python" - "$logs/gateway.log" "$1" <<'EOF'
import json, sys, time

path, first = sys.argv[1], int(sys.argv[2])
deadline, shown, faulty = time.monotonic() + 60, 0, False
while time.monotonic() < deadline:
    with open(path, errors="replace") as log:
        lines = [line for number, line in enumerate(log, 1) if number >= first and line.endswith("\n")]
    for line in lines[shown:]:
        try:
            message = str(json.loads(line)["message"])
        except (ValueError, KeyError, TypeError):
            continue
        fault = message.startswith(("gateway.yaml is not reloaded", "Not reloaded"))
        if fault or message.startswith("New workers serve"):
            print(f"gateway: {message[0].lower()}{message[1:]}", file=sys.stderr)
        faulty = faulty or fault
        if message.startswith(("New workers serve", "Not reloaded")):
            sys.exit(faulty)
    shown = len(lines)
    time.sleep(0.1)
print(f"gateway: new workers are not known to serve after 60 s; see {path}", file=sys.stderr)
EOF
}

greet() {
  local at
  at=$(url gateway)
  at=${at/127.0.0.1/localhost}
  cat <<EOF

Gatehouse is ready.
  the gateway      $at
  its API          $at/docs
  users' admin     $at/admin/
EOF
  if [[ ${GATEHOUSE_ENV:-development} == production ]]; then
    echo "In production there are no demo users; ./manage_all.sh users createsuperuser makes an admin."
  else
    cat <<EOF
Sign in (admin/a and user/u are there for a first look):
  curl -H 'Content-Type: application/json' -d '{"username":"admin","password":"a"}' $at/api/login
EOF
  fi
}

up() {
  local detached='' name is_ready=1 said=()
  while [[ ${1:-} == -* ]]; do
    case $1 in
      -d | --detach) detached=1 ;;
      *) fail "unknown option '$1' of up; it takes -d or --detach, and names" ;;
    esac
    shift
  done
  local names=("$@")
  ((${#names[@]})) || names=("${projects[@]}")
  known "${names[@]}"
  install_projects
  mkdir -p "$run" "$logs"
  for name in "${names[@]}"; do
    # What runs keeps its address until it is stopped.
    [[ ! -f $run/$name.url || $(<"$run/$name.url") == "$(url "$name")" ]] || ! pid "$name" > /dev/null ||
      fail "$name is running at $(<"$run/$name.url"), not at $(url "$name"); ./manage_all.sh down $name first"
  done
  # Else each of the three fails in its own way, and cannot log it.
  head -c 1048576 /dev/zero > "$run/room" 2>/dev/null || { rm -f "$run/room"; fail "no room on the disk of $GATEHOUSE_VAR"; }
  rm -f "$run/room"
  for name in "${names[@]}"; do end_left "$name"; done
  # Before anything is started, so that nothing has to be stopped again.
  for name in "${names[@]}"; do pid "$name" > /dev/null || check_port "$name"; done
  local -A started=() preparing=()
  for name in "${names[@]}"; do
    prepare "$name" > "$logs/$name.prepare.log" 2>&1 &
    preparing[$name]=$!
  done
  for name in "${!preparing[@]}"; do
    wait "${preparing[$name]}" || { cat "$logs/$name.prepare.log" >&2; fail "$name could not be prepared"; }
    grep -v '^$' "$logs/$name.prepare.log" >&2 || true
  done
  # What was started here, and no more, goes again if something else does not start, or at Ctrl-C.
  trap '((${#started[@]} == 0)) || stop "${!started[@]}"' EXIT
  trap 'exit 130' INT TERM
  for name in "${names[@]}"; do start "$name"; done
  for name in "${names[@]}"; do await "$name" healthz; done
  ((${#names[@]} == ${#projects[@]})) || for name in "${names[@]}"; do say "$name is up at $(url "$name")"; done
  if ((${#names[@]} == ${#projects[@]})); then
    await gateway readyz || is_ready=
    mapfile -t said < <(health "$(ready_url gateway readyz)")
    [[ -z ${said[1]:-} ]] || say "gateway: ${said[1]}; see $logs/gateway.log"
    if [[ -n $is_ready ]]; then greet; else say "The gateway goes on running, but is not ready: see above."; fi
  fi
  if [[ -n $detached ]]; then
    trap - EXIT INT TERM
    [[ -n $is_ready ]] || exit 1
    return
  fi
  wait "${started[@]}" || true
}

# health URL: a line with `ready` or `not ready`, and one with what is not well, and why, if anything is.
health() {
  "$venv/bin/python" - "$1" <<'EOF'
import json, sys, urllib.error, urllib.request

def unwell(response):
    try:
        said = json.load(response)
        states = {**said.get("parts", {}), **said.get("services", {})}
        found = [f"{name}: {state}" for name, state in states.items() if state not in ("ok", "unknown")]
        return "; ".join(found) or said.get("detail", "")
    except (ValueError, AttributeError):
        return f"answers {response.status}"

try:
    response = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1], timeout=5)
    print("ready", unwell(response), sep="\n")
except urllib.error.HTTPError as response:
    print("not ready", unwell(response), sep="\n")
except OSError:
    print("not ready", "does not answer within 5 s", sep="\n")
EOF
}

status() {
  local name number said
  for name in "$@"; do
    if number=$(pid "$name"); then
      mapfile -t said < <(health "$(ready_url "$name" readyz)")
      printf '%-8s %-10s pid %-7s %s\n' "$name" "${said[0]}" "$number" "$(url "$name")"
      [[ -z ${said[1]:-} ]] || printf '%-8s %s\n' '' "${said[1]}; see $logs/$name.log"
    elif [[ -f $run/$name.pid ]]; then
      # gunicorn removes the file when it ends by itself, or is told to.
      printf '%-8s killed     ./manage_all.sh up -d %s starts it again; what it was doing is in %s\n' \
        "$name" "$name" "$logs/$name.log"
    else
      printf '%-8s stopped\n' "$name"
    fi
  done
}

# Suites side by side; tests/suites.py says which.
test_all() {
  install_tools
  # Each of many short processes would compile the projects again.
  unset PYTHONDONTWRITEBYTECODE
  exec "$venv/bin/python" -m tests.suites "$@"
}

check() {
  install_tools
  local bin=$venv/bin name
  say '== ruff'
  "$bin/ruff" check .
  "$bin/ruff" format --check .
  say '== words'
  "$bin/python" -m tests.words
  say '== import-linter'
  PYTHONPATH=chassis/src:gateway_project:users_project:orders_project "$bin/lint-imports" --no-cache
  say '== chassis: mypy'
  (cd chassis && PYTHONPATH=tests DJANGO_SETTINGS_MODULE=shop.settings "$bin/mypy" --config-file ../pyproject.toml src tests/shop)
  for name in "${projects[@]}"; do
    say "== $name: mypy, Django's checks, migrations"
    (cd "${name}_project" && DJANGO_SETTINGS_MODULE=${name}_project.settings "$bin/mypy" --config-file ../pyproject.toml .)
    django "$name" check --fail-level WARNING
    django "$name" makemigrations --check --dry-run
  done
  say '== documentation'; "$bin/python" -m pytest -q -p no:django tests/system/test_documentation.py
  say '== pip-audit'; audit
}

# Known vulnerabilities are a failure. Being cut off from the advisory service is not, but it is said.
audit() {
  local report=$GATEHOUSE_VAR/audit.json
  "$venv/bin/pip-audit" --progress-spinner off --disable-pip --require-hashes -r requirements/dev.txt --format json \
    > "$report" 2> "$report.log" || true
  "$venv/bin/python" - "$report" <<'EOF'
import json, sys

try:
    packages = json.load(open(sys.argv[1]))["dependencies"]
except ValueError:
    packages = []
audited = [package for package in packages if "vulns" in package]
for package in audited:
    for vulnerability in package["vulns"]:
        print(f"{package['name']} {package['version']}: {vulnerability['id']}, mended in {vulnerability['fix_versions']}")
print(f"{len(audited)} packages audited" if audited else "left out: the advisory service cannot be reached from here")
sys.exit(any(package["vulns"] for package in audited))
EOF
}

# quietly LOG COMMAND...: show what it says only if it fails.
quietly() {
  local log=$1
  shift
  "$@" > "$log" 2>&1 || { cat "$log" >&2; fail "failed: $*"; }
}

# The tools, the peers and what they import; then tests/bench.
bench() {
  local arguments=("$@")
  while (($#)); do
    case $1 in
      --rounds | --seconds | --warm-up | --connections | --only | --rows | --against)
        (($# > 1)) || fail "expected a value after $1 of bench"
        shift
        ;;
      --rounds=* | --seconds=* | --warm-up=* | --connections=* | --only=* | --rows=* | --against=*) ;;
      --orders | --publish | -h | --help) ;;
      *) fail "unknown option '$1' of bench; --help says what there is" ;;
    esac
    shift
  done
  set -- "${arguments[@]}"
  install_tools
  if [[ " $* " == *" --help "* || " $* " == *" -h "* ]]; then
    PYTHONPATH=$root/gateway_project exec "$venv/bin/python" -m tests.bench --help
  fi
  local own=$GATEHOUSE_VAR/bench wanted
  mkdir -p "$own"
  export PATH=$PATH:/usr/sbin:$own/debian/usr/sbin
  if ! command -v wrk >/dev/null; then
    [[ $EUID == 0 ]] && command -v apt-get >/dev/null || fail 'expected wrk; install it (Debian: apt-get install wrk)'
    say 'Installing wrk'
    quietly "$own/apt.log" eval 'apt-get update && apt-get install --yes --no-install-recommends wrk'
  fi
  if ! command -v nginx >/dev/null; then
    command -v apt-get >/dev/null || fail 'expected nginx; install it (Debian: apt-get install nginx)'
    say "Unpacking nginx into $own/debian"
    # Only the program: the package, once installed, starts a server on port 80.
    (cd "$own" && quietly apt.log eval '((EUID)) || apt-get update; apt-get download nginx && dpkg -x nginx_*.deb debian')
  fi
  (venv=$own/venv; install peers requirements/bench.txt)
  if command -v npm >/dev/null; then
    mkdir -p "$own/fastify"
    cp tests/bench/fastify/{package.json,package-lock.json,gateway.js} "$own/fastify"
    wanted=$(cksum < tests/bench/fastify/package-lock.json)
    if [[ ! -f $own/fastify/.installed || $(<"$own/fastify/.installed") != "$wanted" ]]; then
      say 'Installing tests/bench/fastify'
      npm --prefix "$own/fastify" ci --silent --no-audit --no-fund
      echo "$wanted" > "$own/fastify/.installed"
    fi
  fi
  # `--against` may name a path relative to where the command was typed.
  cd "$caller"
  PYTHONPATH=$root:$root/gateway_project exec "$venv/bin/python" -m tests.bench "$@"
}

lock() {
  local name
  install_tools
  "$venv/bin/python" -m pip install --quiet uv
  cd requirements
  # With extras in the pins: pip before 23.3 takes `coverage[toml]>=7` for unpinned beside `coverage==7.17.3`.
  local compile=("$venv/bin/uv" pip compile --quiet --universal --generate-hashes --no-strip-extras)
  compile+=(--python-version 3.11 --no-header --upgrade)
  "${compile[@]}" dev.in -o dev.txt
  for name in "${projects[@]}"; do "${compile[@]}" -c dev.txt "$name.in" -o "$name.txt"; done
  "${compile[@]}" bench.in -o bench.txt
}

command=${1:-help}
shift || true
case $command in
  up) up "$@" ;;
  down) known "$@"; if (($#)); then stop "$@"; else stop gateway users orders; fi ;;
  reload) known "$@"; (($#)) || set -- "${projects[@]}"; reload "$@" ;;
  status) known "$@"; (($#)) || set -- "${projects[@]}"; status "$@" ;;
  logs)
    known "$@"
    (($#)) || set -- "${projects[@]}"
    [[ -d $logs ]] || fail "no logs in $logs: nothing was started there yet"
    cd "$logs" && exec tail -n 20 -F "${@/%/.log}"
    ;;
  test) test_all "$@" ;;
  check) check ;;
  bench) bench "$@" ;;
  lock) lock ;;
  gateway) install_projects; django gateway "$@" ;;
  users | orders)
    install_projects
    # From where one is: their commands take files.
    cd "$caller"
    exec "$venv/bin/python" "$root/${command}_project/manage.py" "$@"
    ;;
  help | -h | --help) usage ;;
  *) usage >&2; fail "unknown command '$command'" ;;
esac
