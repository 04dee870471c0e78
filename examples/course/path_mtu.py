"""Sends datagrams that routers must not split (DF): python3 path_mtu.py HOST BYTES…"""
import errno, socket, sys

IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_MTU = 10, 2, 14  # linux/in.h
for size in map(int, sys.argv[2:]):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        sock.connect((sys.argv[1], 9))
        try:
            sock.send(bytes(size))
            result = "sent"
        except OSError as error:
            mtu = sock.getsockopt(socket.IPPROTO_IP, IP_MTU)
            result = f"{errno.errorcode[error.errno]}: the path takes packets of {mtu} bytes"
        print(f"{size} bytes of data, {size + 28} with the headers of IP and UDP: {result}")
