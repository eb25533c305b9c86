"""Tokens to a syntax tree, by the grammar of the CEL specification.

Messages are those of cel-go's generated parser where it has one obvious thing to say. Limits: 100,000 code
points, ``MAX_NESTING`` levels of brackets.
"""

from __future__ import annotations

from .errors import CompileError, Issue
from .lexer import RESERVED, Token, tokenize
from .macros import expand
from .nodes import Call, Ident, ListNode, Literal, Logic, MapNode, Node, Select, Struct
from .values import INT_MAX, INT_MIN

__all__ = ["MAX_DEPTH", "MAX_LENGTH", "MAX_NESTING", "parse"]

MAX_LENGTH = 100_000
MAX_NESTING, MAX_DEPTH = 80, 200
"""How deep brackets may nest, and how deep the tree may be (a sum of 200 terms). cel-go allows 250 of each; a level
takes up to eight of the 1,000 frames that Python allows."""

_BINARY = {
    "<": (3, "_<_"),
    "<=": (3, "_<=_"),
    ">": (3, "_>_"),
    ">=": (3, "_>=_"),
    "==": (3, "_==_"),
    "!=": (3, "_!=_"),
    "in": (3, "@in"),
    "+": (4, "_+_"),
    "-": (4, "_-_"),
    "*": (5, "_*_"),
    "/": (5, "_/_"),
    "%": (5, "_%_"),
}
_CONSTANTS = {"true": True, "false": False, "null": None}
_MARKS = ("[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?")
"""In the order of cel-go's grammar."""
_STARTS = frozenset(("[", "{", "(", ".", "-", "!"))
_WORDS = (
    "'true'", "'false'", "'null'", "NUM_FLOAT", "NUM_INT", "NUM_UINT", "STRING", "BYTES", "IDENTIFIER"
)  # fmt: skip


def parse(source: str, *, bindings: bool = False) -> Node:
    """The tree of an expression, macros expanded, ``cel.bind`` only with ``bindings``. Raises CompileError."""
    if len(source) > MAX_LENGTH:
        raise CompileError(
            "",
            [Issue(0, f"expression code point size exceeds limit: size: {len(source)}, limit {MAX_LENGTH}")],
        )
    parser = _Parser(source, bindings)
    node = parser.expression()
    token = parser.token
    if token.kind != "end":
        # One token too many is passed over, more are not.
        wrong = "extraneous" if parser.tokens[parser.index + 1].kind == "end" else "mismatched"
        raise parser.error(token, f"Syntax error: {wrong} input '{token.text}' expecting <EOF>")
    return node


class _Parser:
    def __init__(self, source: str, bindings: bool) -> None:
        self.source = source
        self.bindings = bindings
        self.tokens = tokenize(source)
        self.index = 0
        self.token = self.tokens[0]
        self.nesting = 0
        self.opened: tuple[int, frozenset[str]] = (-1, frozenset())
        """The place after the last opening bracket, and what could stand there beside an expression."""

    def error(self, where: Token | int, message: str) -> CompileError:
        at = where if isinstance(where, int) else where.at
        return CompileError(self.source, [Issue(at, message)])

    def mismatched(self) -> CompileError:
        """No expression begins here; right after an opening bracket its closing one would have done, too."""
        index, also = self.opened
        marks = [mark for mark in _MARKS if mark in _STARTS or (index == self.index and mark in also)]
        expected = ", ".join((*(f"'{mark}'" for mark in marks), *_WORDS))
        return self.error(
            self.token, f"Syntax error: mismatched input '{self.token.text}' expecting {{{expected}}}"
        )

    def more(self, closing: str) -> bool:
        """Whether a comma, and another item, follows; what was opened is closed otherwise."""
        if self.accept(","):
            if self.token.kind != "end":
                return True
        elif self.token.kind == "end":
            raise self.error(
                self.token, f"Syntax error: mismatched input '<EOF>' expecting {{'{closing}', ','}}"
            )
        self.expect(closing)
        return False

    def next(self) -> Token:
        token = self.token
        if token.kind != "end":
            self.index += 1
            self.token = self.tokens[self.index]
        return token

    def at(self, text: str) -> bool:
        return self.token.kind == "op" and self.token.text == text

    def accept(self, text: str) -> bool:
        if self.at(text):
            self.next()
            return True
        return False

    def expect(self, text: str) -> Token:
        if not self.at(text):
            token = self.token
            if token.kind == "end" and text != ":":
                raise self.error(token, f"Syntax error: missing '{text}' at '<EOF>'")
            raise self.error(token, f"Syntax error: mismatched input '{token.text}' expecting '{text}'")
        return self.next()

    def checked(self, node: Node) -> Node:
        if node.depth > MAX_DEPTH:
            raise self.error(node.at, f"expression recursion limit exceeded: {MAX_DEPTH}")
        return node

    def expression(self) -> Node:
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise self.error(self.token, f"expression recursion limit exceeded: {MAX_NESTING}")
        condition = self.logic("||", "_||_")
        if self.at("?"):
            at = self.next().at
            yes = self.logic("||", "_||_")
            self.expect(":")
            no = self.expression()
            condition = self.checked(Call(at, "_?_:_", [condition, yes, no]))
        self.nesting -= 1
        return condition

    def logic(self, operator: str, function: str) -> Node:
        first = self.logic("&&", "_&&_") if operator == "||" else self.binary(3)
        if not self.at(operator):
            return first
        terms = [first]
        at = self.token.at
        while self.accept(operator):
            terms.append(self.logic("&&", "_&&_") if operator == "||" else self.binary(3))
        return self.checked(Logic(at, function, terms))

    def binary(self, level: int) -> Node:
        left = self.unary()
        while True:
            token = self.token
            known = _BINARY.get(token.text) if token.kind in ("op", "ident") else None
            if known is None or known[0] < level:
                return left
            self.next()
            right = self.binary(known[0] + 1)
            left = self.checked(Call(token.at, known[1], [left, right]))

    def unary(self) -> Node:
        token = self.token
        if token.kind == "op" and token.text in ("!", "-"):
            count = 0
            while self.at(token.text):
                self.next()
                count += 1
            if token.text == "-" and count == 1 and self.token.kind == "value":
                value = self.token.value
                if type(value) in (int, float):
                    self.next()
                    if value == INT_MAX + 1 and type(value) is int:
                        return self.postfix(Literal(token.at, INT_MIN))
                    return self.postfix(Literal(token.at, -value))
            operand = self.postfix(self.primary())
            if count % 2 == 0:
                return operand
            return self.checked(Call(token.at, "!_" if token.text == "!" else "-_", [operand]))
        return self.postfix(self.primary())

    def postfix(self, node: Node) -> Node:
        while self.token.kind == "op":
            if self.at("."):
                node = self.member(node)
            elif self.at("["):
                at = self.next().at
                self.opened = (self.index, frozenset("?"))
                optional = self.accept("?")
                index = self.expression()
                self.expect("]")
                node = Call(at, "_[?_]" if optional else "_[_]", [node, index])
            elif self.at("{"):
                name = _dotted(node)
                if not name:
                    return node
                node = self.struct(name)
            else:
                return node
            self.checked(node)
        return node

    def member(self, operand: Node) -> Node:
        dot = self.next()
        optional = self.accept("?")
        token = self.token
        if token.kind == "escaped":
            self.next()
            return Select(dot.at, operand, token.text[1:-1], optional=optional)
        if token.kind != "ident" or token.text in ("in", "true", "false", "null"):
            raise self.error(
                token,
                f"Syntax error: no viable alternative at input '.{'' if token.kind == 'end' else token.text}'",
            )
        self.next()
        if not optional and self.at("("):
            opening = self.next()
            args = self.arguments(")")
            return self.macro(opening.at, token.text, args, operand)
        return Select(dot.at, operand, token.text, optional=optional)

    def macro(self, at: int, name: str, args: list[Node], target: Node | None) -> Node:
        expanded = expand(at, name, args, target, self.error, self.bindings)
        return Call(at, name, args, target) if expanded is None else expanded

    def arguments(self, closing: str) -> list[Node]:
        args: list[Node] = []
        self.opened = (self.index, frozenset((closing,)))
        while not self.accept(closing):
            args.append(self.expression())
            if not self.accept(","):
                self.expect(closing)
                break
        return args

    def primary(self) -> Node:
        token = self.token
        if token.kind == "value":
            self.next()
            if type(token.value) is int and token.value > INT_MAX:
                raise self.error(token, "invalid int literal")
            return Literal(token.at, token.value)
        if token.kind == "ident" and token.text != "in":
            return self.identifier()
        if token.kind == "op":
            if token.text == "(":
                self.next()
                node = self.expression()
                self.expect(")")
                return node
            if token.text == "[":
                return self.list()
            if token.text == "{":
                return self.map()
            if token.text == ".":
                self.next()
                if self.token.kind == "ident":
                    return self.identifier()
        raise self.mismatched()

    def identifier(self) -> Node:
        token = self.next()
        if token.text in _CONSTANTS:
            return Literal(token.at, _CONSTANTS[token.text])
        if token.text in RESERVED:
            raise self.error(token, f"reserved identifier: {token.text}")
        if self.at("("):
            opening = self.next()
            return self.checked(self.macro(opening.at, token.text, self.arguments(")"), None))
        return Ident(token.at, token.text)

    def list(self) -> Node:
        at = self.next().at
        elements: list[Node] = []
        optional: set[int] = set()
        self.opened = (self.index, frozenset(("]", ",", "?")))
        while not self.accept("]"):
            if self.accept("?"):
                optional.add(len(elements))
            elements.append(self.expression())
            if not self.more("]"):
                break
        return self.checked(ListNode(at, elements, frozenset(optional)))

    def map(self) -> Node:
        at = self.next().at
        entries: list[tuple[int, Node, Node, bool]] = []
        self.opened = (self.index, frozenset(("}", ",", "?")))
        while not self.accept("}"):
            optional = self.accept("?")
            key = self.expression()
            colon = self.expect(":")
            entries.append((colon.at, key, self.expression(), optional))
            if not self.more("}"):
                break
        return self.checked(MapNode(at, entries))

    def struct(self, name: str) -> Node:
        at = self.next().at
        entries: list[tuple[int, str, Node, bool]] = []
        while not self.accept("}"):
            optional = self.accept("?")
            field = self.token
            if field.kind not in ("ident", "escaped"):
                raise self.error(field, f"Syntax error: mismatched input '{field.text}' expecting IDENTIFIER")
            self.next()
            colon = self.expect(":")
            text = field.text[1:-1] if field.kind == "escaped" else field.text
            entries.append((colon.at, text, self.expression(), optional))
            if not self.accept(","):
                self.expect("}")
                break
        return Struct(at, name, entries)


def _dotted(node: Node) -> str:
    """``a.b.c`` when the node is that and nothing else, otherwise the empty string."""
    if isinstance(node, Ident):
        return node.name
    if isinstance(node, Select) and not node.optional and not node.test:
        before = _dotted(node.operand)
        return before and f"{before}.{node.field}"
    return ""
