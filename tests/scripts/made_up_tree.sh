# For tests of the scripts that look at the tree: one that is made up. Sourced with the script's name.
source_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
script=$source_root/scripts/$1
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

# put FILE LINE...
put() {
  mkdir -p "$tree/$(dirname "$1")"
  printf '%s\n' "${@:2}" > "$tree/$1"
}
expect() {  # CODE TEXT
  local code=0 text
  text=$("$script" "$tree") || code=$?
  if [[ $code != "$1" || $text != "$2" ]]; then
    diff <(echo "exit $1"; echo "$2") <(echo "exit $code"; echo "$text") || true
    exit 1
  fi
}
