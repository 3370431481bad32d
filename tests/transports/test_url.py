"""Channel URLs: what they mean, and one clear line for everything else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virtagent.errors import UrlError
from virtagent_transports import ChannelUrl

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("text", "scheme", "target", "options"),
    [
        ("/run/x.sock", "unix", "/run/x.sock", {}),
        ("unix:/run/x.sock", "unix", "/run/x.sock", {}),
        ("unix:///run/x.sock?mode=0660&group=kvm", "unix", "/run/x.sock", {"mode": "0660", "group": "kvm"}),
        ("unix:@name", "unix", "@name", {}),
        ("unix:/a%3Fb%20c", "unix", "/a?b c", {}),
        ("tcp:127.0.0.1:7000", "tcp", "127.0.0.1:7000", {}),
        ("tcp://[::1]:7000", "tcp", "[::1]:7000", {}),
        ("tcp:example.org:1?insecure=yes", "tcp", "example.org:1", {"insecure": "yes"}),
        ("tls:host:1?name=a%26b", "tls", "host:1", {"name": "a&b"}),
        ("vsock:any:7000", "vsock", "any:7000", {}),
        ("vsock:3:7000", "vsock", "3:7000", {}),
        ("serial:/dev/ttyS1?baud=9600", "serial", "/dev/ttyS1", {"baud": "9600"}),
        ("virtio:org.virtagent.0?wait=yes", "virtio", "org.virtagent.0", {"wait": "yes"}),
        ("stdio:", "stdio", "", {}),
        ("exec:ssh host virtagentd --stdio", "exec", "ssh host virtagentd --stdio", {}),
        ("exec:sh -c 'echo a?b=%20'", "exec", "sh -c 'echo a?b=%20'", {}),
    ],
)
def test_a_url_means(text: str, scheme: str, target: str, options: dict[str, str]) -> None:
    url = ChannelUrl.parse(text)
    assert (url.scheme, url.target, url.options) == (scheme, target, options)
    assert ChannelUrl.parse(str(url)) == url


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nothing", "SCHEME:TARGET"),
        ("carrier-pigeon:x", "unknown scheme 'carrier-pigeon'; known are exec, serial, stdio, tcp, tls, unix, virtio"),
        ("unix:", "needs a path"),
        ("unix:@", "needs a path"),
        ("unix://host/x", "one slash or three"),
        ("unix:/x?baud=1", "unknown option 'baud'.*known here: chardev, group, mode"),
        ("unix:/x?mode=0999", "octal number from 0 to 777"),
        ("unix:/x?mode", "no value: write mode=VALUE"),
        ("unix:/x?mode=1&mode=2", "given twice"),
        ("unix:/x?chardev=usb", "one of: no, serial, virtio"),
        ("unix:/" + "x" * 107, "at most 107 bytes"),
        ("unix:/a%00b", "NUL"),
        ("unix:/a%ff", "not UTF-8"),
        ("serial:", "needs a device"),
        ("serial:/dev/x?baud=fast", "baud=fast in .* must be a number from 50"),
        ("serial:/dev/x?baud=-1", "must be a number"),
        ("serial:/dev/x?parity=maybe", "must be one of: even, mark"),
        ("serial:/dev/x?rtscts=1", "must be one of: yes, no"),
        ("virtio:", "needs a port"),
        ("stdio:/dev/stdin", "must be just stdio:"),
        ("stdio:?a=b", "this scheme has none"),
        ("exec:", "needs a command"),
        ("exec:sh -c 'x", "cannot be split into words"),
        ("tcp:localhost", "HOST:PORT"),
        ("tcp:localhost:http", "port from 0 to 65535"),
        ("tcp:localhost:70000", "port from 0 to 65535"),
        ("tcp:::1:80", r"needs brackets: tcp:\[::1\]:80"),
        ("tcp:192.0.2.1:80", r"use tls:192.0.2.1:80\?ca=.* or add \?insecure=yes"),
        ("tcp:0.0.0.0:80", "insecure=yes"),
        ("tcp::80", "insecure=yes"),
        ("tls:h:1?key=x", "add cert=FILE"),
        ("tls:h:1?verify=no", "must be one of: chain, name"),
        ("vsock:7000", "vsock:CID:PORT"),
        ("vsock:vm:7000", "vsock:CID:PORT"),
        ("vsock:4294967296:1", "vsock:CID:PORT"),
        ("vsock:3:x", "vsock:CID:PORT"),
    ],
)
def test_a_bad_url_gets_one_line_that_says_what_to_write(text: str, words: str) -> None:
    with pytest.raises(UrlError, match=words) as caught:
        ChannelUrl.parse(text)
    assert "\n" not in str(caught.value)


@given(NAMES, NAMES)
def test_any_path_and_option_survive_the_round_trip(path: str, group: str) -> None:
    url = ChannelUrl("unix", "/" + path.strip("/")[:20], {"group": group})
    assert ChannelUrl.parse(str(url)) == url


@settings(max_examples=40)
@given(st.text(max_size=40))
def test_any_text_gives_a_url_or_a_url_error(text: str) -> None:
    for each in (text, "unix:" + text, "tcp:" + text, "exec:" + text, "serial:/dev/x?" + text, "vsock:" + text):
        try:
            url = ChannelUrl.parse(each)
        except UrlError:
            continue
        assert ChannelUrl.parse(str(url)) == url


def test_logs_get_neither_a_commands_arguments_nor_passwords() -> None:
    assert ChannelUrl.parse("exec:ssh -o Password=hunter2 host").redacted() == "exec:ssh ..."
    assert ChannelUrl.parse("exec:cat").redacted() == "exec:cat"
    assert ChannelUrl("unix", "/x", {"token": "s3cret", "mode": "0600"}).redacted() == "unix:/x?token=***&mode=0600"
