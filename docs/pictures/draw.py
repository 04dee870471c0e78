#!/usr/bin/env python3
"""Draws the pictures of the course, each in English and Vietnamese: python3 docs/pictures/draw.py [FOLDER]
The default folder is this script's own. A test draws them again and compares."""
import html, pathlib, sys

INK, SOFT, BLUE, GREEN, YELLOW, GREY = "#1f2933", "#52606d", "#d6e8fa", "#d9f2e3", "#fdf1cc", "#eef1f4"

# Every text of a picture: those that stay as they are, and those with a translation.
THE_SAME = {"Send-Q", "Recv-Q", "send()", "recv()", "SYN", "SYN + ACK", "ACK", "FIN", "hi", "chào", "LF", "0 2", "0 5", "header: JSON"}
VIETNAMESE = {
    "What a segment carries": "Một segment mang những gì",
    "Ethernet header": "Header Ethernet",
    "IP header: from, to": "Header IP: nguồn, đích",
    "TCP header: 20 bytes or more": "Header TCP: từ 20 byte",
    "data: up to 1460 bytes": "dữ liệu: tối đa 1460 byte",
    "14 bytes": "14 byte",
    "20 bytes (IPv6: 40)": "20 byte (IPv6: 40)",
    "a piece of the stream": "một đoạn của luồng (stream)",
    "one packet on the way: at most 1500 bytes of IP (the MTU)": "một gói tin trên đường: IP tối đa 1500 byte (MTU)",
    "source port, destination port": "cổng nguồn, cổng đích",
    "sequence number: position of the first byte of data": "số thứ tự (sequence number): vị trí của byte dữ liệu đầu tiên",
    "acknowledgement number: the next byte that is expected": "số xác nhận (acknowledgement): byte tiếp theo đang chờ",
    "flags: SYN, ACK, FIN, RST, PSH": "cờ: SYN, ACK, FIN, RST, PSH",
    "window: how much the receiver has room for": "cửa sổ (window): bên nhận còn chỗ cho bao nhiêu byte",
    "checksum, options": "checksum, các tuỳ chọn (options)",
    "The queues between two programs": "Các hàng đợi giữa hai chương trình",
    "program": "chương trình",
    "kernel": "nhân (kernel)",
    "client": "máy khách (client)",
    "server": "máy chủ (server)",
    "kept until acknowledged": "giữ đến khi được xác nhận",
    "acknowledged, not read yet": "đã xác nhận, chưa được đọc",
    "network": "mạng",
    "acknowledgements, and the window that is left": "xác nhận, và cửa sổ còn lại",
    "A listening socket has another queue: connections that wait for accept, at most the backlog.":
        "Socket đang listen có một hàng đợi khác: các kết nối chờ accept, nhiều nhất bằng backlog.",
    "The handshake and the close": "Bắt tay (handshake) và đóng kết nối",
    "data": "dữ liệu",
    "connect returns": "connect trả về",
    "accept returns": "accept trả về",
    "close, or shutdown": "close hoặc shutdown",
    "recv gives 0 bytes": "recv trả về 0 byte",
    "TIME_WAIT, 60 s": "TIME_WAIT, 60 giây",
    "half-closed: it can still send": "nửa đóng (half-closed): vẫn gửi được",
    "Where a message ends": "Thông điệp kết thúc ở đâu",
    "fixed length, padded": "độ dài cố định, có đệm (padding)",
    "delimiter": "ký tự phân cách (delimiter)",
    "length prefix": "tiền tố độ dài (length prefix)",
    "vang and the tutorial": "vang và bài hướng dẫn",
    "padding": "đệm",
    "length: 2 bytes": "độ dài: 2 byte",
    "content: content-length bytes": "nội dung: content-length byte",
}


class Picture:
    def __init__(self, width, height, language):
        self.width, self.height, self.language, self.parts = width, height, language, []

    def words(self, text):
        if text not in VIETNAMESE and text not in THE_SAME:
            raise KeyError(f"no Vietnamese for {text!r}")
        return html.escape(VIETNAMESE.get(text, text) if self.language == "vi" else text)

    def text(self, x, y, text, size=14, anchor="middle", colour=INK, weight="normal"):
        self.parts.append(
            f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{colour}" '
            f'font-weight="{weight}">{self.words(text)}</text>')

    def box(self, x, y, width, height, fill, text="", size=14):
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4" fill="{fill}" stroke="{INK}"/>')
        if text:
            self.text(x + width / 2, y + height / 2 + size * 0.35, text, size)

    def line(self, x1, y1, x2, y2, arrow=False, dashed=False):
        end = ' marker-end="url(#tip)"' if arrow else ""
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{INK}" stroke-width="1.5"{end}{dash}/>')

    def svg(self, title):
        self.text(self.width / 2, 28, title, 17, weight="bold")
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
            f'height="{self.height}" font-family="Helvetica, Arial, sans-serif" role="img">\n'
            f'<title>{self.words(title)}</title>\n'
            f'<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
            f'<path d="M0 0L8 4L0 8z" fill="{INK}"/></marker></defs>\n'
            f'<rect width="{self.width}" height="{self.height}" fill="#ffffff"/>\n')
        return head + "\n".join(self.parts) + "\n</svg>\n"


def segment(language):
    picture = Picture(760, 320, language)
    parts = [(40, 120, GREY, "Ethernet header", "14 bytes"), (160, 170, YELLOW, "IP header: from, to", "20 bytes (IPv6: 40)"),
             (330, 210, GREEN, "TCP header: 20 bytes or more", ""), (540, 180, BLUE, "data: up to 1460 bytes", "a piece of the stream")]
    for x, width, fill, name, below in parts:
        picture.box(x, 68, width, 40, fill, name, 13)
        if below:
            picture.text(x + width / 2, 60, below, 12, colour=SOFT)
    picture.line(330, 108, 150, 138, dashed=True)
    picture.line(540, 108, 610, 138, dashed=True)
    fields = ("source port, destination port", "sequence number: position of the first byte of data",
              "acknowledgement number: the next byte that is expected", "flags: SYN, ACK, FIN, RST, PSH",
              "window: how much the receiver has room for", "checksum, options")
    for row, field in enumerate(fields):
        picture.box(150, 138 + 25 * row, 460, 25, GREEN, field, 13)
    picture.text(380, 309, "one packet on the way: at most 1500 bytes of IP (the MTU)", 12, colour=SOFT)
    return picture.svg("What a segment carries")


def queues(language):
    picture = Picture(760, 290, language)
    for x, name in ((30, "client"), (530, "server")):
        picture.box(x, 48, 200, 182, "#ffffff")
        picture.text(x + 100, 68, name, 14, weight="bold")
        picture.box(x + 20, 78, 160, 32, GREY, "program")
        picture.line(x, 124, x + 200, 124, dashed=True)
        picture.text(x + 8, 140, "kernel", 11, "start", SOFT)
    picture.box(50, 150, 160, 36, BLUE, "Send-Q")
    picture.text(130, 204, "kept until acknowledged", 12, colour=SOFT)
    picture.box(550, 150, 160, 36, GREEN, "Recv-Q")
    picture.text(630, 204, "acknowledged, not read yet", 12, colour=SOFT)
    picture.line(130, 110, 130, 149, arrow=True)
    picture.text(138, 134, "send()", 12, "start")
    picture.line(630, 149, 630, 111, arrow=True)
    picture.text(638, 134, "recv()", 12, "start")
    picture.line(211, 160, 549, 160, arrow=True)
    picture.text(380, 152, "network", 13)
    picture.line(549, 180, 212, 180, arrow=True, dashed=True)
    picture.text(380, 198, "acknowledgements, and the window that is left", 12, colour=SOFT)
    picture.text(
        380, 264, "A listening socket has another queue: connections that wait for accept, at most the backlog.", 13)
    return picture.svg("The queues between two programs")


def handshake(language):
    picture = Picture(760, 430, language)
    left, right = 240, 520
    picture.text(left, 56, "client", 14, weight="bold")
    picture.text(right, 56, "server", 14, weight="bold")
    picture.line(left, 64, left, 410)
    picture.line(right, 64, right, 410)
    steps = ((80, 1, "SYN"), (112, -1, "SYN + ACK"), (144, 1, "ACK"), (190, 1, "data"), (222, -1, "ACK"),
             (268, 1, "FIN"), (300, -1, "ACK"), (340, -1, "FIN"), (372, 1, "ACK"))
    for y, direction, name in steps:
        start, end = (left, right) if direction > 0 else (right, left)
        picture.line(start, y, end, y + 18, arrow=True)
        picture.text((left + right) / 2, y + 2, name, 13)
    for y, name in ((134, "connect returns"), (272, "close, or shutdown"), (362, "recv gives 0 bytes"), (396, "TIME_WAIT, 60 s")):
        picture.text(left - 12, y, name, 12, "end", SOFT)
    for y, name in ((166, "accept returns"), (290, "recv gives 0 bytes"), (312, "half-closed: it can still send"), (344, "close, or shutdown")):
        picture.text(right + 12, y, name, 12, "start", SOFT)
    return picture.svg("The handshake and the close")


def framing(language):
    picture = Picture(760, 250, language)
    rows = (
        ("fixed length, padded", ((90, BLUE, "hi"), (120, GREY, "padding"), (120, BLUE, "chào"), (90, GREY, "padding"))),
        ("delimiter", ((90, BLUE, "hi"), (40, YELLOW, "LF"), (120, BLUE, "chào"), (40, YELLOW, "LF"))),
        ("length prefix", ((50, YELLOW, "0 2"), (90, BLUE, "hi"), (50, YELLOW, "0 5"), (120, BLUE, "chào"))),
        ("vang and the tutorial", ((120, YELLOW, "length: 2 bytes"), (120, GREEN, "header: JSON"), (210, BLUE, "content: content-length bytes"))),
    )
    for row, (name, parts) in enumerate(rows):
        y, x = 52 + 48 * row, 270
        picture.text(258, y + 21, name, 13, "end")
        for width, fill, text in parts:
            picture.box(x, y, width, 32, fill, text, 13)
            x += width
    return picture.svg("Where a message ends")


folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
for draw in (segment, queues, handshake, framing):
    for language in ("en", "vi"):
        name = f"{draw.__name__}.svg" if language == "en" else f"{draw.__name__}.vi.svg"
        (folder / name).write_text(draw(language), encoding="utf-8")
