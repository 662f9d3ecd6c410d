"""Why a text is no JSON, in the words of Go's encoding/json, which clients of Kubernetes know. Only looked at when decoding has failed."""

from __future__ import annotations

_SPACE = b" \t\r\n"
_DIGITS = b"0123456789"
_HEX = b"0123456789abcdefABCDEF"
_ESCAPES = b'"\\/bfnrt'
_LITERALS = {ord("t"): "true", ord("f"): "false", ord("n"): "null"}
MAX_DEPTH = 10_000
TRUNCATED = "unexpected end of JSON input"


_QUOTED = {
    ord("'"): r"'\''",
    ord('"'): "'\"'",
    ord("\\"): r"'\\'",
    ord("\n"): r"'\n'",
    ord("\r"): r"'\r'",
    ord("\t"): r"'\t'",
}


def _quoted(byte: int) -> str:
    return f"'{chr(byte)}'" if chr(byte).isprintable() else "'\\x%02x'" % byte


class _SyntaxFound(Exception):
    """What is wrong with the text."""


def syntax_error(text: bytes) -> str | None:
    """The first thing that is wrong with the syntax; None when nothing is (strings may still be no UTF-8)."""
    try:
        _Scanner(text).scan()
    except _SyntaxFound as found:
        return str(found)
    return None


class _Scanner:
    """Goes over a text once, without recursion."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._at = 0

    def scan(self) -> None:
        """Raises `_SyntaxFound`."""
        # For each open container whether it is an object.
        open_: list[bool] = []
        self._space()
        while True:
            opened = self._value()
            if opened is not None:
                open_.append(opened)
                if len(open_) > MAX_DEPTH:
                    raise _SyntaxFound("exceeded max depth")
                self._space()
                if self._peek() == (ord("}") if opened else ord("]")):
                    self._at += 1
                    open_.pop()
                else:
                    if opened:
                        self._key()
                    continue
            while open_:
                self._space()
                byte = self._peek()
                if byte == ord(","):
                    self._at += 1
                    self._space()
                    if open_[-1]:
                        self._key()
                    break
                if byte != (ord("}") if open_[-1] else ord("]")):
                    self._refuse("after object key:value pair" if open_[-1] else "after array element")
                self._at += 1
                open_.pop()
            else:
                self._space()
                if self._at < len(self._text):
                    self._refuse("after top-level value")
                return

    def _peek(self) -> int:
        if self._at >= len(self._text):
            raise _SyntaxFound(TRUNCATED)
        return self._text[self._at]

    def _refuse(self, where: str) -> None:
        byte = self._peek()
        raise _SyntaxFound(f"invalid character {_QUOTED.get(byte) or _quoted(byte)} {where}")

    def _space(self) -> None:
        text = self._text
        while self._at < len(text) and text[self._at] in _SPACE:
            self._at += 1

    def _expect(self, allowed: bytes, where: str) -> int:
        byte = self._peek()
        if byte not in allowed:
            self._refuse(where)
        self._at += 1
        return byte

    def _key(self) -> None:
        if self._peek() != ord('"'):
            self._refuse("looking for beginning of object key string")
        self._string()
        self._space()
        self._expect(b":", "after object key")
        self._space()

    def _value(self) -> bool | None:
        """Passes a scalar, or the opening of a container: then says whether that is an object."""
        byte = self._peek()
        if byte in b"{[":
            self._at += 1
            return byte == ord("{")
        if byte == ord('"'):
            self._string()
        elif byte == ord("-") or byte in _DIGITS:
            self._number()
        elif (literal := _LITERALS.get(byte)) is not None:
            self._at += 1
            for letter in literal[1:]:
                self._expect(letter.encode(), f"in literal {literal} (expecting '{letter}')")
        else:
            self._refuse("looking for beginning of value")
        return None

    def _string(self) -> None:
        self._at += 1
        while (byte := self._peek()) != ord('"'):
            if byte < 0x20:
                self._refuse("in string literal")
            self._at += 1
            if byte == ord("\\"):
                if self._peek() == ord("u"):
                    self._at += 1
                    for _ in range(4):
                        self._expect(_HEX, "in \\u hexadecimal character escape")
                else:
                    self._expect(_ESCAPES, "in string escape code")
        self._at += 1

    def _digits(self) -> None:
        text = self._text
        while self._at < len(text) and text[self._at] in _DIGITS:
            self._at += 1

    def _number(self) -> None:
        text = self._text
        if text[self._at] == ord("-"):
            self._at += 1
        if self._expect(_DIGITS, "in numeric literal") != ord("0"):
            self._digits()
        if text[self._at : self._at + 1] == b".":
            self._at += 1
            self._expect(_DIGITS, "after decimal point in numeric literal")
            self._digits()
        if self._at < len(text) and text[self._at] in b"eE":
            self._at += 1
            if self._peek() in b"+-":
                self._at += 1
            self._expect(_DIGITS, "in exponent of numeric literal")
            self._digits()
