#!/usr/bin/env bash
# The tutorial's application server, for one connection on its stdin and stdout. Bash cannot listen; another program does,
# like inetd. listen.py in this folder does it in ten lines:
#     python3 listen.py HOST PORT timeout 10 bash app_server.sh        (port 0: any free one; it is printed)
source "$(dirname "$0")/vang.sh"
# It supports text in UTF-8 only, and keys that occur once.
declare -A answers=(
  [morpheus]='Follow the white rabbit. 🐰'
  [ring]='In the caves beneath the Misty Mountains. 💍'
  [🐶]='🐾 Playing ball! 🏐'
)

answer_text() {
  local action
  json_get "$taken" action || value=None
  action=$value
  json_get "$taken" value || value=None
  if [[ $action != search ]]; then
    json_string "Error: invalid action '$action'."
  elif [[ $value && ${answers[$value]} ]]; then
    json_string "${answers[$value]}"
  else
    json_string "No match for '$value'."
  fi
  local content="{\"result\": $string}"
  write_header ${#content} && printf %s "$content"
}
answer_bytes() { # a variable cannot hold a NUL: od makes numbers of the bytes, printf bytes of the numbers
  local before='First 10 bytes of request: ' count=$((length < 10 ? length : 10)) first
  first=($(head -c "$count" | od -An -v -tx1))
  (($(head -c $((length - count)) | wc -c) == length - count && ${#first[@]} == count)) || return
  write_header $((${#before} + count)) binary/custom-server-binary-type binary && printf '%s' "$before"
  printf "$(printf %s "${first[@]/#/\\x}")"
}
read_header && json_get "$header" content-type || exit 1
if [[ $value == text/json ]]; then
  json_get "$header" content-encoding
  [[ ${value,,} == utf-8 ]] && ((length <= 65536)) && take "$length" && answer_text # matching is slow, and nobody searches for more
else
  answer_bytes
fi
