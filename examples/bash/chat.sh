#!/usr/bin/env bash
# Send and follow in a room of a vang server. Run it as
#     bash chat.sh HOST PORT send ROOM TEXT [AS]          prints the message's address, as general#7
#     bash chat.sh HOST PORT follow ROOM [AS] [SINCE]     prints messages, from SINCE + 1 on
source "$(dirname "$0")/vang.sh"

request() { # ACTION ROOM TEXT AS SINCE
  local keys
  json_string "$2"
  keys="\"action\": \"$1\", \"room\": $string, "
  json_string "$4"
  keys+=${4:+"\"as\": $string, "}${5:+"\"since\": $5, "}
  # The id makes a retry after a lost connection safe: the server posts the message once.
  keys+="\"id\": \"$(head -c 16 /dev/urandom | od -An -v -tx1 | tr -d ' \n')\", "
  write_header ${#3} text/plain utf-8 "$keys" && printf %s "$3"
}
show() { # KEY AFTER: a value of the header
  json_get "$header" "$1" && printf '%s%s' "$value" "$2"
}
[[ $3 == send || $3 == follow ]] || { echo "usage: see the top of $0" >&2; exit 2; }
exec 3<>"/dev/tcp/$1/$2" || exit 1
if [[ $3 == send ]]; then request send "$4" "$5" "$6" ""; else request follow "$4" "" "$5" "$6"; fi >&3
exec <&3
read_header && take "$length" || { echo "chat: no answer" >&2; exit 1; }
json_get "$header" status
[[ $value == ok ]] || { show detail $'\n' >&2; exit 1; }
[[ $3 == send ]] && { show address $'\n'; exit; }
while read_header; do
  json_get "$header" content-encoding && encoding=${value,,}
  json_get "$header" event || value=
  case $value/$encoding in # control characters would control the terminal
    message/utf-8) show n ' ' && show from ': ' && head -c "$length" | tr '\000-\037\177' ' ' && echo ;;
    message/*) show n ' ' && show from ': ' && echo '(not in UTF-8)' && head -c "$length" >/dev/null ;;
    hole/*) printf 'hole ' && show from - && show to ' ' && show why $'\n' ;;
    *) head -c "$length" >/dev/null ;;
  esac
done
