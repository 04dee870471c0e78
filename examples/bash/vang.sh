# The message format for bash and coreutils. The other programs source it; messages are read from stdin.
# JSON is matched, not parsed: a key counts at any depth, and of the escapes \u and \/ stay (UTF-8 needs neither).
export LC_ALL=C # lengths are bytes, and UTF-8 passes through
content_bytes_max=1048576 # a vang server's default
silence=0 # seconds in which the peer must have said what is waited for; 0: any
head() { timeout "$silence" head "$@"; }

take() { # COUNT: so many bytes of stdin into $taken, in whatever pieces they come; head never reads ahead
  { taken=$(head -c "$1"; printf .); } 2>/dev/null # the dot saves newlines at the end
  taken=${taken%.}
  ((${#taken} == $1)) # fewer: the peer has closed, or sent a NUL where text was due
}
json_get() { # JSON KEY: its value into $value, a string without its escapes
  local string='"(([^"\\]|\\["\\/bfnrtu])*)"' word='[^][:space:],{}"[]+'
  [[ $1 =~ .*\"$2\"[[:space:]]*:[[:space:]]*($string|($word)) ]] && printf -v value %b "${BASH_REMATCH[2]//\\\"/\"}${BASH_REMATCH[4]}"
}
json_string() { # TEXT: $string is it, quoted
  string=${1//\\/\\\\}
  string=${string//\"/\\\"}
  string=\"${string//$'\n'/\\n}\"
  string=${string//[[:cntrl:]]/ } # the others are nothing that one types
}
read_header() { # sets $header and $length; the content is still to be read
  local high low key
  read -r high low < <(head -c 2 | od -An -tu1) && [[ $low ]] && take $((high << 8 | low)) && header=$taken || return
  for key in byteorder content-type content-encoding content-length; do
    json_get "$header" "$key" || { echo "missing required header '$key'" >&2; return 1; }
  done
  length=$value
  [[ $length =~ ^(0|[1-9][0-9]{0,6})$ ]] && ((length <= content_bytes_max))
}
write_header() { # LENGTH [TYPE ENCODING [KEYS]]: to stdout, before so many bytes of content; KEYS are JSON with commas
  local order=big header prefix
  [[ $(printf '\1\0' | od -An -tu2) -eq 1 ]] && order=little
  header="{\"byteorder\": \"$order\", $4\"content-type\": \"${2:-text/json}\", \"content-encoding\": \"${3:-utf-8}\", \"content-length\": $1}"
  printf -v prefix '\\x%02x\\x%02x' $((${#header} >> 8)) $((${#header} & 255))
  printf "$prefix%s" "$header"
}
