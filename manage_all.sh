#!/usr/bin/env bash
# Runs, tests and checks the three projects together. `./manage_all.sh help` lists the commands.
set -euo pipefail
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
root=$PWD
projects=(users orders gateway)

usage() {
  cat <<'EOF'
usage: ./manage_all.sh COMMAND

  up [-d] [--watch] [NAME...]
                        install, migrate and start users, orders and gateway, or only the projects named; wait until they
                        are ready. Stay in the foreground until Ctrl-C; with -d (--detach) return once they are ready.
                        With --watch the gateway takes up each change of gateway.yaml
  down [NAME...]        stop them, after their requests have finished
  reload [NAME...]      install, migrate, and start new workers with the current code and gateway.yaml, without losing a
                        request
  status [NAME...]      show what runs, at which address, and why it is not ready; fail unless everything named is ready
  logs [NAME...]        follow the logs
  test [ARG...]         run all tests, or the suites named; other arguments, such as -m long, go to each pytest
  check                 lint, types, import rules, wording, Django's checks, migrations, documentation, known
                        vulnerabilities
  bench [OPTION...]     measure the gateway beside Envoy, nginx, Fastify and FastAPI; bench --help lists the options
  screenshots           make the pictures of README.md and docs/ again; Chromium is needed
  lock                  pin requirements/*.txt again from requirements/*.in
  help                  show this
  NAME ARG...           run manage.py of a project: ./manage_all.sh gateway routes
EOF
}

bench_usage() {
  cat <<'EOF'
usage: ./manage_all.sh bench [OPTION...]

Measure the gateway beside other gateways. The first run installs them; wrk and nginx are needed.

  --rounds N            measurements of each gateway (5; 20 in a comparison, 3 with --faults)
  --seconds N           length of one measurement (2)
  --only NAME           measure this gateway alone; may be repeated; a wrong name lists the names
  --against PATH        compare the fast door with that of another checkout instead
  --policies            compare the fast door with policies with that with the defaults instead
  --tracing             compare the fast door with spans with that without instead
  --faults              let addresses of a service fail instead, behind the gateway and behind Envoy
  --orders              measure the orders service instead
  --rows N              with --orders: orders in its large table (5000000)
  --publish             write the results to docs/benchmarks.md
  -h, --help            show this
EOF
}

say() { printf '%s\n' "$*" >&2; }
fail() { say "manage_all.sh: $*"; exit 1; }

# A relative path starts at the caller's directory; in .env, at the directory of that file.
for name in GATEHOUSE_VAR GATEHOUSE_VENV GATEWAY_CONFIG; do
  [[ -z ${!name:-} || ${!name} == /* ]] || export "$name=$caller/${!name}"
done

# Variables of the environment win over those of the file. The syntax is that of Docker Compose.
env_line='^[[:space:]]*(export[[:space:]]+)?([A-Za-z_][A-Za-z0-9_]*)[[:space:]]*=[[:space:]]*(.*)$'
double_quoted='^"([^"]*)"[[:space:]]*(#.*)?$'
single_quoted="^'([^']*)'[[:space:]]*(#.*)?$"
if [[ -f .env ]]; then
  number=0
  while IFS='' read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    line=${line%$'\r'}
    [[ ! $line =~ ^[[:space:]]*(#.*)?$ ]] || continue
    # The message leaves the line out: it may contain a secret.
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

# host NAME: the address to connect to, without brackets.
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

# url NAME: its URL by the settings.
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

# check_config: fail if the gateway runs with another gateway.yaml than the settings name: a process keeps its settings.
check_config() {
  local file=$run/gateway.config own
  [[ -f $file ]] && pid gateway > /dev/null || return 0
  own=$(<"$file")
  [[ $own == "${GATEWAY_CONFIG:-}" ]] ||
    fail "the gateway is running with ${own:-its own gateway.yaml}, not with ${GATEWAY_CONFIG:-its own}; stop it with ./manage_all.sh down gateway"
}

# running_url NAME: the URL at which it was started, which the settings may no longer have.
running_url() {
  if [[ -f $run/$1.url ]]; then cat "$run/$1.url"; else url "$1"; fi
}

ready_url() {
  case $1 in
    gateway) echo "$(running_url gateway)/$2" ;;
    *) echo "$(running_url "$1")/healthz" ;;
  esac
}

known() {
  local name
  for name in "$@"; do
    [[ " ${projects[*]} " == *" $name "* ]] || fail "unknown project '$name'; use one of: ${projects[*]}"
  done
}

# Prints how long typical work takes, in 0.1 µs, the version, and whether the build is known to be optimized. Fails if the
# version is not supported or cannot create a virtual environment.
probe='
import ensurepip, sys, sysconfig, time, venv
built = sysconfig.get_config_var
if sys.version_info < (3, 11) or built("Py_GIL_DISABLED"):
    sys.exit(1)
class Header:
    def __init__(self, name, value):
        self.name, self.value = name.lower(), value
def seconds():
    began = time.process_time()
    pairs = (f"X-{number}: {number}".split(": ") for number in range(1500))
    headers = [Header(name, value) for name, value in pairs]
    b"".join(f"{each.name}: {each.value}".encode() for each in headers if each.name not in {"x-1", "x-2"})
    return time.process_time() - began
optimized = "--enable-optimizations" in (built("CONFIG_ARGS") or "") or sys.base_prefix == "/usr"
print(round(min(seconds() for _ in range(30)) * 1e7), sys.version.split()[0], optimized)
'

# choose_python: set `python` to the fastest Python, or to $PYTHON. Builds without profile-guided optimization are a
# third slower in the probe, and some 6 % in the gateway. A difference below 5 % counts as none.
choose_python() {
  python=${PYTHON:-}
  local candidate candidates=(python3 python3.{11..14} /usr/bin/python3 /usr/bin/python3.{11..14})
  local time version optimized best=0 chosen=''
  [[ -z $python ]] || candidates=("$python")
  for candidate in "${candidates[@]}"; do
    read -r time version optimized < <("$candidate" -I -c "$probe" 2>/dev/null) || continue
    if ((best == 0 || time * 105 < best * 100)); then
      best=$time python=$candidate chosen="$version $optimized"
    fi
  done
  [[ -n $chosen ]] ||
    fail "no Python 3.11 or later with venv as '${candidates[0]}'; install one (Debian: python3-venv), or set PYTHON to one"
  say "Creating $venv with $python (${chosen% *})"
  [[ $chosen == *True ]] ||
    say 'This Python is built without optimization (PGO), which costs the gateway some 6 %. The Python of Debian has it.'
}

# install KIND FILE...: install the pinned packages of these files, unless the files have not changed.
install() {
  local kind=$1 wanted python
  shift
  if [[ ! -x $venv/bin/python ]]; then
    choose_python
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

# The chassis is installed in place, so that its changes need no second install. Its dependencies are pinned above.
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

# pid NAME: the process id of its gunicorn, if that runs and was started here.
pid() {
  local file=$run/$1.pid number
  [[ -f $file ]] && read -r number < "$file" && [[ -n $number ]] || return 1
  ps -ww -p "$number" -o args= 2>/dev/null | grep -qF -- "--pid $file" && echo "$number"
}

# orphans NAME: workers of a master that was killed. They live until they notice.
orphans() {
  ! pid "$1" >/dev/null || return 0
  # By the environment, so that awk does not find its own arguments.
  ps -ww -eo pid=,args= | started_with="--pid $run/$1.pid" awk 'index($0, ENVIRON["started_with"]) { print $1 }'
}

# end_orphans NAME: stop these workers: they keep the port, and no master stops them.
end_orphans() {
  local numbers deadline=$((SECONDS + 25)) how=TERM
  mapfile -t numbers < <(orphans "$1")
  ((${#numbers[@]} == 0)) || say "the master of $1 was killed; stopping its workers"
  while ((${#numbers[@]})); do
    ((SECONDS < deadline)) || how=KILL
    kill "-$how" "${numbers[@]}" 2>/dev/null || true
    # A suspended process handles no other signal.
    kill -CONT "${numbers[@]}" 2>/dev/null || true
    sleep 0.1
    mapfile -t numbers < <(orphans "$1")
  done
}

# responds URL: whether it responds with success. Without Python, which takes longer to start than a try may.
responds() {
  local address=${1#http://} path status=''
  path=/${address#*/} address=${address%%/*}
  local name=${address%:*} port=${address##*:}
  name=${name#[} name=${name%]}
  (
    exec 3<> "/dev/tcp/$name/$port" &&
      printf 'GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$path" "$address" >&3 &&
      read -r -t 2 _ status _ <&3 &&
      [[ $status == 200 ]]
  ) 2>/dev/null
}

# Migrations are compatible with the version that runs.
prepare() {
  local name=$1
  if [[ $name == users ]] && ! pid users >/dev/null; then
    django users demo_users --migrate
  else
    django "$name" migrate --verbosity 0
  fi
}

# check_port NAME: fail if its port is in use.
check_port() {
  ! (exec 3<> "/dev/tcp/$(host "$1")/$(port "$1")") 2>/dev/null ||
    fail "port $(port "$1") is in use; set ${1^^}_PORT to another one for $1"
}

start() {
  local name=$1 application=${1}_project.wsgi
  [[ $name != gateway ]] || application=gateway_project.asgi
  if pid "$name" >/dev/null; then
    # A process keeps the environment that it was started with.
    [[ $name != gateway || -z ${watch:-} ]] || fail "the gateway is running already; --watch takes effect at a start: \`$0 down gateway\` first"
    say "$name is already running"
    return
  fi
  rm -f "$run/$name.pid"
  url "$name" > "$run/$name.url"
  [[ $name != gateway ]] || echo "${GATEWAY_CONFIG:-}" > "$run/gateway.config"
  (
    cd "$root/${name}_project"
    # glibc returns blocks as large as a password hash's to the system; by default each thread keeps one.
    [[ $name != users ]] || export MALLOC_MMAP_THRESHOLD_=1048576
    exec setsid "$venv/bin/gunicorn" -c gunicorn.conf.py --pid "$run/$name.pid" "$application" \
      >> "$logs/$name.log" 2>&1 < /dev/null
  ) &
  started[$name]=$!
}

# await NAME PATH: wait until this path responds with success; return 1 if the gateway runs but is not ready in time.
await() {
  local name=$1 what=$2 deadline=$((SECONDS + 60))
  until responds "$(ready_url "$name" "$what")"; do
    if [[ -n ${started[$name]:-} ]] && ! kill -0 "${started[$name]}" 2>/dev/null; then
      tail -n 15 "$logs/$name.log" >&2
      fail "$name did not start; see the end of $logs/$name.log above"
    fi
    if ((SECONDS >= deadline)); then
      [[ $what != readyz ]] || return 1
      fail "$name was not ready after 60 s; see $logs/$name.log"
    fi
    sleep 0.1
  done
}

# longest_total: seconds of the longest `total` in gateway.yaml, rounded up.
longest_total() {
  (
    cd "$root/gateway_project"
    "$venv/bin/python" - "${GATEWAY_CONFIG:-gateway.yaml}" <<'EOF' || echo 0
import math, os, sys
from pathlib import Path

sys.path.insert(0, os.getcwd())
from gateway.config import load

config = load(Path(sys.argv[1]), os.environ)
print(math.ceil(max((each.timeouts.total for each in (*config.services.values(), *config.routes)), default=0)))
EOF
  ) 2>/dev/null
}

stop() {
  local name deadline asked
  local -A numbers=()
  for name in "$@"; do
    numbers[$name]=$(pid "$name") && kill -TERM "${numbers[$name]}" 2>/dev/null || true
  done
  for name in "$@"; do
    deadline=$((SECONDS + 25)) asked=''
    [[ $name != gateway ]] || deadline=$((deadline + ${DRAIN_SECONDS:-0}))
    # The process, not its pid file: gunicorn removes that a moment before it ends.
    while [[ -n ${numbers[$name]} ]] && kill -0 "${numbers[$name]}" 2>/dev/null; do
      if ((SECONDS >= deadline)) && [[ $name == gateway && -z $asked ]]; then
        # The gateway lets a request run for the longest `total`. Reading it takes too long for every stop.
        asked=1 deadline=$((deadline + $(longest_total)))
      elif ((SECONDS >= deadline)); then
        say "$name did not stop in time; killing it"
        pkill -KILL -g "${numbers[$name]}" || true
        deadline=$((SECONDS + 25))
      fi
      sleep 0.05
    done
    end_orphans "$name"
    rm -f "$run/$name.pid" "$run/$name.url" "$run/$name.config"
    if [[ -n ${numbers[$name]} ]]; then say "$name is stopped"; else say "$name was not running"; fi
  done
}

reload() {
  local name number stopped=() lines failed=''
  install_projects
  if [[ " $* " == *" gateway "* ]] && pid gateway > /dev/null; then
    check_config
    # A faulty gateway.yaml must change nothing: not the other projects either.
    django gateway check > /dev/null || fail 'nothing was reloaded: correct gateway.yaml first'
  fi
  for name in "$@"; do
    if number=$(pid "$name"); then
      prepare "$name"
      lines=$(wc -l < "$logs/$name.log")
      # gunicorn's own signal for a reload; in the gateway it takes up gateway.yaml without new workers.
      if [[ $name == gateway ]]; then kill -USR1 "$number"; else kill -HUP "$number"; fi
      say "$name is starting new workers; if that fails, the old ones stay, and the reason is in $logs/$name.log"
      [[ $name != gateway ]] || confirm "$((lines + 1))" || failed=1
    else
      stopped+=("$name")
    fi
  done
  ((${#stopped[@]} == 0)) || fail "not running: ${stopped[*]}; start with ./manage_all.sh up -d ${stopped[*]}"
  [[ -z $failed ]] || exit 1
}

# confirm LINE: print what the gateway logs about the reload from this line on; return 1 if the reload failed.
confirm() {
  "$venv/bin/python" - "$logs/gateway.log" "$1" <<'EOF'
import json, os, sys, time

path, first = sys.argv[1], int(sys.argv[2])
if not os.statvfs(path).f_bavail:
    sys.exit(f"gateway: no room for its log, so the reload is not confirmed; make room for {path}, then see `status`")
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
print(f"gateway: no new worker serves after 60 s; see {path}", file=sys.stderr)
EOF
}

print_urls() {
  local at
  at=$(running_url gateway)
  at=${at/127.0.0.1/localhost}
  cat <<EOF

Gatehouse is ready.
  the gateway      $at
  its API          $at/docs
  users' admin     $at/admin/
EOF
  if [[ ${GATEHOUSE_ENV:-development} == production ]]; then
    echo "Production has no demo users. Create an admin with ./manage_all.sh users createsuperuser."
  else
    cat <<EOF
Sign in as a demo user, admin/a or user/u, unless you have users of your own:
  curl -H 'Content-Type: application/json' -d '{"username":"admin","password":"a"}' $at/api/login
EOF
  fi
}

up() {
  local detached='' name is_ready=1 report=()
  while [[ ${1:-} == -* ]]; do
    case $1 in
      -d | --detach) detached=1 ;;
      --watch) export GATEWAY_WATCH=1 watch=1 ;;
      *) fail "unknown option '$1' of up; use -d (--detach), --watch and names" ;;
    esac
    shift
  done
  local names=("$@")
  ((${#names[@]})) || names=("${projects[@]}")
  known "${names[@]}"
  install_projects
  mkdir -p "$run" "$logs"
  for name in "${names[@]}"; do
    # A running process keeps its address until it stops.
    [[ ! -f $run/$name.url || $(<"$run/$name.url") == "$(url "$name")" ]] || ! pid "$name" > /dev/null ||
      fail "$name is running at $(<"$run/$name.url"), not at $(url "$name"); stop it with ./manage_all.sh down $name"
    [[ $name != gateway ]] || check_config
  done
  # With a full disk each project fails in another way, and cannot log it.
  head -c 1048576 /dev/zero > "$run/room" 2>/dev/null || { rm -f "$run/room"; fail "no room on the disk of $GATEHOUSE_VAR"; }
  rm -f "$run/room"
  for name in "${names[@]}"; do end_orphans "$name"; done
  # Look at all ports first, so that a taken one stops nothing.
  for name in "${names[@]}"; do pid "$name" > /dev/null || check_port "$name"; done
  local -A started=() preparing=()
  for name in "${names[@]}"; do
    prepare "$name" > "$logs/$name.prepare.log" 2>&1 &
    preparing[$name]=$!
  done
  for name in "${!preparing[@]}"; do
    wait "${preparing[$name]}" || { cat "$logs/$name.prepare.log" >&2; fail "$name could not be migrated; see above"; }
    grep -v '^$' "$logs/$name.prepare.log" >&2 || true
  done
  # If a project does not start, or at Ctrl-C, stop those that were started here, and no others.
  trap '((${#started[@]} == 0)) || stop "${!started[@]}"' EXIT
  trap 'exit 130' INT TERM
  for name in "${names[@]}"; do start "$name"; done
  for name in "${names[@]}"; do await "$name" healthz; done
  ((${#names[@]} == ${#projects[@]})) || for name in "${names[@]}"; do say "$name is up at $(url "$name")"; done
  if ((${#names[@]} == ${#projects[@]})); then
    await gateway readyz || is_ready=
    mapfile -t report < <(readiness "$(ready_url gateway readyz)")
    [[ -z ${report[1]:-} ]] || say "gateway: ${report[1]}; see $logs/gateway.log"
    if [[ -n $is_ready ]]; then print_urls; else say "The gateway runs, but is not ready: see above."; fi
  fi
  if [[ -n $detached ]]; then
    trap - EXIT INT TERM
    [[ -n $is_ready ]] || exit 1
    return
  fi
  wait "${started[@]}" || true
}

# readiness URL: print `ready` or `not ready`, then a line with the problems, if there are any.
readiness() {
  "$venv/bin/python" - "$1" <<'EOF'
import json, sys, urllib.error, urllib.request

def problems(response):
    try:
        report = json.load(response)
        states = {**report.get("parts", {}), **report.get("services", {})}
        found = [f"{name}: {state}" for name, state in states.items() if state not in ("ok", "unknown")]
        if rejected := report.get("config_rejected"):
            stays = ", ".join(report.get("config", {}))
            found.append(
                f"gateway.yaml was changed and rejected at {rejected['at']}: {rejected['faults']} fault{'s' * (rejected['faults'] != 1)}; "
                f"sha256 {stays} stays in force"
            )
        return "; ".join(found) or report.get("detail", "")
    except (ValueError, AttributeError):
        return f"responds with {response.status}"

try:
    response = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1], timeout=5)
    print("ready", problems(response), sep="\n")
except urllib.error.HTTPError as response:
    print("not ready", problems(response), sep="\n")
except OSError:
    print("not ready", "does not respond within 5 s", sep="\n")
EOF
}

status() {
  local name number report all_ready=1
  for name in "$@"; do
    if number=$(pid "$name"); then
      mapfile -t report < <(readiness "$(ready_url "$name" readyz)")
      printf '%-8s %-10s pid %-7s %s\n' "$name" "${report[0]}" "$number" "$(running_url "$name")"
      [[ -z ${report[1]:-} ]] || printf '%-8s %s\n' '' "${report[1]}; see $logs/$name.log"
      [[ ${report[0]} == ready ]] || all_ready=''
      continue
    fi
    all_ready=''
    # gunicorn removes its pid file when it stops by itself or at a signal.
    if [[ -f $run/$name.pid ]]; then
      printf '%-8s killed     start it again with ./manage_all.sh up -d %s; its log is %s\n' \
        "$name" "$name" "$logs/$name.log"
    else
      printf '%-8s stopped\n' "$name"
    fi
  done
  [[ -n $all_ready ]]
}

# tests/suites.py runs the suites side by side.
test_all() {
  install_tools
  # Without bytecode files each of many short processes compiles the projects again.
  unset PYTHONDONTWRITEBYTECODE
  if [[ " $* " == *" deploy "* ]]; then
    mkdir -p "$GATEHOUSE_VAR/deploy"
    (venv=$GATEHOUSE_VAR/deploy/venv; install deploy-tools requirements/deploy.txt)
    export PATH=$PATH:$GATEHOUSE_VAR/deploy/venv/bin
  fi
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

# A known vulnerability is a failure. Without access to the advisory service the audit is left out, with a message.
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
        print(f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in {vulnerability['fix_versions']}")
print(f"{len(audited)} packages audited" if audited else "left out: the advisory service cannot be reached")
sys.exit(any(package["vulns"] for package in audited))
EOF
}

# quietly LOG COMMAND...: show the output only if the command fails.
quietly() {
  local log=$1
  shift
  "$@" > "$log" 2>&1 || { cat "$log" >&2; fail "failed: $*"; }
}

# Install the tools and the other gateways; then run tests/bench.
bench() {
  local arguments=("$@")
  while (($#)); do
    case $1 in
      --rounds | --seconds | --only | --rows | --against)
        (($# > 1)) || fail "bench: $1 needs a value; see bench --help"
        shift
        ;;
      --rounds=* | --seconds=* | --only=* | --rows=* | --against=*) ;;
      --faults | --orders | --policies | --tracing | --publish) ;;
      -h | --help) bench_usage; return ;;
      *) fail "unknown option '$1' of bench; see bench --help" ;;
    esac
    shift
  done
  set -- "${arguments[@]}"
  install_tools
  local own=$GATEHOUSE_VAR/bench wanted
  mkdir -p "$own"
  export PATH=$PATH:/usr/sbin:$own/debian/usr/sbin
  if ! command -v wrk >/dev/null; then
    [[ $EUID == 0 ]] && command -v apt-get >/dev/null || fail 'wrk is not installed; install it (Debian: apt-get install wrk)'
    say 'Installing wrk'
    quietly "$own/apt.log" eval 'apt-get update && apt-get install --yes --no-install-recommends wrk'
  fi
  if ! command -v nginx >/dev/null; then
    command -v apt-get >/dev/null || fail 'nginx is not installed; install it (Debian: apt-get install nginx)'
    say "Unpacking nginx into $own/debian"
    # Only the program: an installed package starts a server on port 80.
    (cd "$own" && quietly apt.log eval '((EUID)) || apt-get update; apt-get download nginx && dpkg -x nginx_*.deb debian')
  fi
  (venv=$own/venv; install peers requirements/bench.txt)
  if command -v npm >/dev/null; then
    mkdir -p "$own/fastify"
    cp tests/bench/fastify/{package.json,package-lock.json,*.js} "$own/fastify"
    wanted=$(cksum < tests/bench/fastify/package-lock.json)
    if [[ ! -f $own/fastify/.installed || $(<"$own/fastify/.installed") != "$wanted" ]]; then
      say 'Installing tests/bench/fastify'
      npm --prefix "$own/fastify" ci --silent --no-audit --no-fund
      echo "$wanted" > "$own/fastify/.installed"
    fi
  fi
  # A relative path after --against starts at the caller's directory.
  cd "$caller"
  PYTHONPATH=$root:$root/gateway_project exec "$venv/bin/python" -m tests.bench "$@"
}

lock() {
  local name
  install_tools
  "$venv/bin/python" -m pip install --quiet uv
  cd requirements
  # Keep extras in the pins: pip before 23.3 treats `coverage[toml]>=7` as unpinned beside `coverage==7.17.3`.
  local compile=("$venv/bin/uv" pip compile --quiet --universal --generate-hashes --no-strip-extras)
  compile+=(--python-version 3.11 --no-header --upgrade)
  "${compile[@]}" dev.in -o dev.txt
  for name in "${projects[@]}"; do "${compile[@]}" -c dev.txt "$name.in" -o "$name.txt"; done
  "${compile[@]}" bench.in -o bench.txt
  "${compile[@]}" deploy.in -o deploy.txt
  "${compile[@]}" compose.in -o compose.txt
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
  screenshots) install_tools; exec "$venv/bin/python" -m tests.browser.screenshots ;;
  gateway | users | orders)
    install_projects
    # Paths of files in the arguments start at the caller's directory.
    cd "$caller"
    exec "$venv/bin/python" "$root/${command}_project/manage.py" "$@"
    ;;
  help | -h | --help) usage ;;
  *) usage >&2; fail "unknown command '$command'" ;;
esac
