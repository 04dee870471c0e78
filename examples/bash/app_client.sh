#!/usr/bin/env bash
# The tutorial's application client: one request, one response. Run it as
#     bash app_client.sh HOST PORT ACTION VALUE
# `search` sends JSON and prints the result; any other action sends bytes and prints the response's bytes.
source "$(dirname "$0")/vang.sh"
silence=5

if (($# != 4)); then
  echo "usage: $0 HOST PORT ACTION VALUE" >&2
  exit 2
fi
exec 3<>"/dev/tcp/$1/$2" || exit 1
if [[ $3 == search ]]; then
  json_string "$4"
  content="{\"action\": \"search\", \"value\": $string}"
  write_header ${#content} >&3
else
  content=$3$4
  write_header ${#content} binary/custom-client-binary-type binary >&3
fi
printf %s "$content" >&3
if ! read_header <&3; then
  echo "app_client: no answer" >&2
  exit 1
fi
json_get "$header" content-type
if [[ $value == text/json ]]; then
  take "$length" <&3 && json_get "$taken" result || { echo "app_client: no whole answer" >&2; exit 1; }
  printf '%s\n' "$value"
else
  head -c "$length" <&3
fi
