// All texts of the page, in each language. Texts from the server stay as they are.

const en = {
  language: "English",
  chooseTitle: "Come in",
  chooseName: "Your name",
  nameHint: "Others see it next to your messages. You need no account.",
  enter: "Enter",
  refused: "The server refused: {detail}",
  room: "Room {room}",
  speakingAs: "You are {name}.",
  changeName: "Change name",
  changeNameWaits: "A message of yours is still being sent.",
  log: "Messages in {room}",
  write: "Message to {room}",
  writeHint: "Enter sends, Shift+Enter starts a new line",
  send: "Send",
  connecting: "Connecting …",
  live: "Connected",
  waiting: "Not connected. Trying again in {seconds} s …",
  waitingWhy: "Not connected ({detail}). Trying again in {seconds} s …",
  lost: "Not connected",
  now: "Try now",
  guest: "guest",
  older: "Show older messages",
  olderComing: "Loading older messages …",
  beginning: "This is where {room} begins.",
  empty: "No messages in {room} yet.",
  unread: { one: "{count} new message", other: "{count} new messages" },
  mark: "New",
  sending: "sending …",
  kept: "not connected; it will be sent",
  busy: "not sent yet: {detail}; it will be tried again",
  failed: "not sent: {detail}",
  unknown: "no answer for an hour: it may have been posted or not",
  again: "Try again",
  discard: "Discard",
  "hole-not-member": { one: "{count} message is not shown: you were not a member.", other: "{count} messages are not shown: you were not a member." },
  "hole-erased": { one: "{count} message was erased.", other: "{count} messages were erased." },
  "hole-retention": { one: "{count} message has expired.", other: "{count} messages have expired." },
  "hole-damaged": { one: "{count} message is damaged on the server's disk.", other: "{count} messages are damaged on the server's disk." },
  "hole-other": { one: "{count} message is not shown ({why}).", other: "{count} messages are not shown ({why})." },
  joined: "{from} joined.",
  left: "{from} left.",
  "room-created": "{from} created the room.",
  topic: "{from} set the topic: {topic}",
  "topic-removed": "{from} removed the topic.",
  "not-text": "{type}, {size}",
  "unknown-encoding": "text in {encoding}, which this browser cannot read ({size})",
  damaged: "Cannot read this message: not valid {encoding} ({size})",
  blank: "(empty message)",
  "other-journal": "The server now has another journal. You see its current messages.",
  "set-back": "The server's data was restored from an older copy. You see its current messages.",
  dismiss: "Understood",
  said: "{from} says: {text}",
};

const vi = {
  language: "Tiếng Việt",
  chooseTitle: "Mời vào",
  chooseName: "Tên của bạn",
  nameHint: "Người khác thấy tên này bên cạnh lời bạn nói. Không cần tài khoản.",
  enter: "Vào",
  refused: "Máy chủ từ chối: {detail}",
  room: "Phòng {room}",
  speakingAs: "Bạn là {name}.",
  changeName: "Đổi tên",
  changeNameWaits: "Có tin bạn viết còn đang được gửi.",
  log: "Tin nhắn trong {room}",
  write: "Nhắn tới {room}",
  writeHint: "Enter để gửi, Shift+Enter để xuống dòng",
  send: "Gửi",
  connecting: "Đang kết nối …",
  live: "Đã kết nối",
  waiting: "Mất kết nối. Thử lại sau {seconds} giây …",
  waitingWhy: "Mất kết nối ({detail}). Thử lại sau {seconds} giây …",
  lost: "Mất kết nối",
  now: "Thử ngay",
  guest: "khách",
  older: "Xem tin cũ hơn",
  olderComing: "Đang tải tin cũ hơn …",
  beginning: "Phòng {room} bắt đầu từ đây.",
  empty: "Chưa ai nói gì trong {room}.",
  unread: { other: "{count} tin mới" },
  mark: "Mới",
  sending: "đang gửi …",
  kept: "mất kết nối; tin sẽ được gửi",
  busy: "chưa gửi được: {detail}; sẽ thử lại",
  failed: "không gửi được: {detail}",
  unknown: "một giờ không có hồi âm: có thể đã đăng hoặc chưa",
  again: "Thử lại",
  discard: "Bỏ",
  "hole-not-member": { other: "{count} tin không hiện: lúc đó bạn chưa ở trong phòng." },
  "hole-erased": { other: "{count} tin đã bị xoá." },
  "hole-retention": { other: "{count} tin đã hết hạn lưu." },
  "hole-damaged": { other: "{count} tin bị hỏng trên đĩa của máy chủ." },
  "hole-other": { other: "{count} tin không hiện ({why})." },
  joined: "{from} đã vào phòng.",
  left: "{from} đã rời phòng.",
  "room-created": "{from} đã tạo phòng.",
  topic: "{from} đã đặt chủ đề: {topic}",
  "topic-removed": "{from} đã bỏ chủ đề.",
  "not-text": "{type}, {size}",
  "unknown-encoding": "văn bản mã {encoding} mà trình duyệt này không đọc được ({size})",
  damaged: "Không đọc được tin này: không phải {encoding} hợp lệ ({size})",
  blank: "(tin trống)",
  "other-journal": "Máy chủ trở lại với một nhật ký khác. Đây là những gì nó có bây giờ.",
  "set-back": "Máy chủ đã được khôi phục từ một bản cũ hơn. Đây là những gì nó có bây giờ.",
  dismiss: "Đã hiểu",
  said: "{from} nói: {text}",
};

export const LANGUAGES = { en, vi };

/** The first language of the browser that the page has. */
export function choose(wanted) {
  return wanted.map((tag) => tag.split("-")[0].toLowerCase()).find((tag) => Object.hasOwn(LANGUAGES, tag)) ?? "en";
}

/** A speaker of this language: `say(key, values)`; `count` in the values chooses the plural. */
export function speaker(language) {
  const words = LANGUAGES[language];
  const plurals = new Intl.PluralRules(language);
  const numbers = new Intl.NumberFormat(language);
  return (key, values = {}) => {
    const found = words[key];
    const sentence = typeof found === "string" ? found : (found[plurals.select(values.count)] ?? found.other);
    return sentence.replace(/\{(\w+)\}/g, (_, name) => (name === "count" ? numbers.format(values[name]) : values[name]));
  };
}
