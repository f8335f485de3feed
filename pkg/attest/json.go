package attest

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds the nesting of a JSON text; Intel's documents have five
// levels.
const maxDepth = 16

// reader reads JSON (RFC 8259) value by value. It exists because
// encoding/json takes a key in any case and twice, which two verifiers would
// read differently, and because it gives the exact bytes of a value, which
// are what a signature is over. It is also several times faster.
type reader struct {
	b     []byte
	text  string // b again, so that strings are cut from it
	i     int
	depth int
	keys  [][]byte // of the objects around i, outermost first
}

func (r *reader) errorf(format string, a ...any) error {
	return fmt.Errorf("JSON offset %d: %s", r.i, fmt.Sprintf(format, a...))
}

// peek skips white space and returns the next byte, 0 at the end.
func (r *reader) peek() byte {
	for r.i < len(r.b) {
		switch c := r.b[r.i]; c {
		case ' ', '\t', '\r', '\n':
			r.i++
		default:
			return c
		}
	}
	return 0
}

func (r *reader) expect(c byte) error {
	if got := r.peek(); got != c || r.i == len(r.b) {
		return r.errorf("want %q", c)
	}
	r.i++
	return nil
}

// end wants that nothing but white space is left.
func (r *reader) end() error {
	if r.peek(); r.i != len(r.b) {
		return r.errorf("bytes behind the value")
	}
	return nil
}

func (r *reader) enter(c byte) error {
	if r.depth++; r.depth > maxDepth {
		return r.errorf("nested deeper than %d", maxDepth)
	}
	return r.expect(c)
}

// object calls member for each key; member must read the value. A key that
// comes twice is an error, and so is one of required that does not come.
func (r *reader) object(member func(key []byte) error, required ...string) error {
	if err := r.enter('{'); err != nil {
		return err
	}
	base := len(r.keys)
	for first := true; ; first = false {
		if r.peek() == '}' && first {
			break
		}
		key, err := r.key()
		if err != nil {
			return err
		}
		if has(r.keys[base:], string(key)) {
			return r.errorf("key %q twice", key)
		}
		if r.keys = append(r.keys, key); len(r.keys)-base > 64 {
			return r.errorf("more than 64 keys in one object")
		}
		if err := r.expect(':'); err != nil {
			return err
		}
		if err := member(key); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if r.peek() != ',' {
			break
		}
		r.i++
	}
	for _, w := range required {
		if !has(r.keys[base:], w) {
			return r.errorf("key %q is missing", w)
		}
	}
	r.keys = r.keys[:base]
	r.depth--
	return r.expect('}')
}

func has(keys [][]byte, key string) bool {
	for _, k := range keys {
		if string(k) == key {
			return true
		}
	}
	return false
}

// array calls element for each one, which must read it.
func (r *reader) array(element func(n int) error) error {
	if err := r.enter('['); err != nil {
		return err
	}
	for n := 0; ; n++ {
		if r.peek() == ']' && n == 0 {
			break
		}
		if err := element(n); err != nil {
			return err
		}
		if r.peek() != ',' {
			break
		}
		r.i++
	}
	r.depth--
	return r.expect(']')
}

// key returns the bytes of a key. Keys with escapes are refused: none that we
// know needs one, and a second spelling could hide a second key.
func (r *reader) key() ([]byte, error) {
	s, plain, err := r.quoted()
	if err == nil && !plain {
		err = r.errorf("escape in a key")
	}
	return s, err
}

// quoted returns what is between quotes, raw, and whether it has no escapes.
func (r *reader) quoted() (s []byte, plain bool, err error) {
	if err := r.expect('"'); err != nil {
		return nil, false, err
	}
	start := r.i
	plain = true
	for ; r.i < len(r.b); r.i++ {
		switch c := r.b[r.i]; {
		case c == '"':
			s = r.b[start:r.i]
			if !utf8.Valid(s) {
				return nil, false, r.errorf("string is not UTF-8")
			}
			r.i++
			return s, plain, nil
		case c == '\\':
			plain = false
			r.i++
		case c < ' ':
			return nil, false, r.errorf("control character in a string")
		}
	}
	return nil, false, r.errorf("string without an end")
}

func (r *reader) str() (string, error) {
	s, plain, err := r.quoted()
	if err != nil {
		return "", err
	}
	if plain {
		return r.text[r.i-1-len(s) : r.i-1], nil
	}
	return r.unescape(s)
}

func (r *reader) unescape(s []byte) (string, error) {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			out = append(out, s[i])
			continue
		}
		i++ // quoted made sure that a byte follows
		switch s[i] {
		case '"', '\\', '/':
			out = append(out, s[i])
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			u, ok := hex4(s[i+1:])
			if !ok {
				return "", r.errorf("bad \\u escape")
			}
			i += 4
			if utf16.IsSurrogate(u) {
				low, ok := rune(0), false
				if len(s) > i+2 && s[i+1] == '\\' && s[i+2] == 'u' {
					low, ok = hex4(s[i+3:])
				}
				if u = utf16.DecodeRune(u, low); !ok || u == utf8.RuneError {
					return "", r.errorf("half a surrogate pair")
				}
				i += 6
			}
			out = utf8.AppendRune(out, u)
		default:
			return "", r.errorf("bad escape")
		}
	}
	return string(out), nil
}

func hex4(s []byte) (rune, bool) {
	if len(s) < 4 {
		return 0, false
	}
	var u rune
	for _, c := range s[:4] {
		d, ok := hexDigit(c)
		if !ok {
			return 0, false
		}
		u = u<<4 | rune(d)
	}
	return u, true
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// hex fills dst from a string of exactly as many hex digits, of any case.
func (r *reader) hex(dst []byte) error {
	s, plain, err := r.quoted()
	if err != nil {
		return err
	}
	if !plain || len(s) != 2*len(dst) {
		return r.errorf("want %d hex digits", 2*len(dst))
	}
	for i := range dst {
		hi, ok := hexDigit(s[2*i])
		lo, ok2 := hexDigit(s[2*i+1])
		if !ok || !ok2 {
			return r.errorf("want %d hex digits", 2*len(dst))
		}
		dst[i] = hi<<4 | lo
	}
	return nil
}

// number reads an integer from 0 to max, written without sign, fraction,
// exponent or leading zeros.
func (r *reader) number(max uint64) (uint64, error) {
	r.peek()
	start := r.i
	for r.i < len(r.b) && '0' <= r.b[r.i] && r.b[r.i] <= '9' {
		r.i++
	}
	s := r.b[start:r.i]
	n, err := strconv.ParseUint(string(s), 10, 64)
	switch {
	case err != nil || len(s) > 1 && s[0] == '0':
		return 0, r.errorf("want an integer")
	case r.i < len(r.b) && (r.b[r.i] == '.' || r.b[r.i] == 'e' || r.b[r.i] == 'E'):
		return 0, r.errorf("want an integer")
	case n > max:
		return 0, r.errorf("%d is more than %d", n, max)
	}
	return n, nil
}

func (r *reader) boolean() (bool, error) {
	r.peek()
	for _, w := range []struct {
		s string
		v bool
	}{{"true", true}, {"false", false}} {
		if bytes.HasPrefix(r.b[r.i:], []byte(w.s)) {
			r.i += len(w.s)
			return w.v, nil
		}
	}
	return false, r.errorf("want true or false")
}

// raw reads one value of any kind and returns its exact bytes.
func (r *reader) raw() ([]byte, error) {
	r.peek()
	start := r.i
	if err := r.skip(); err != nil {
		return nil, err
	}
	return r.b[start:r.i], nil
}

func (r *reader) skip() error {
	switch c := r.peek(); {
	case c == '{':
		return r.object(func([]byte) error { return r.skip() })
	case c == '[':
		return r.array(func(int) error { return r.skip() })
	case c == '"':
		_, err := r.str()
		return err
	case c == '-' || '0' <= c && c <= '9':
		return r.skipNumber()
	case c == 't' || c == 'f':
		_, err := r.boolean()
		return err
	case bytes.HasPrefix(r.b[r.i:], []byte("null")):
		r.i += 4
		return nil
	}
	return r.errorf("want a value")
}

func (r *reader) skipNumber() error {
	digits := func() int {
		start := r.i
		for r.i < len(r.b) && '0' <= r.b[r.i] && r.b[r.i] <= '9' {
			r.i++
		}
		return r.i - start
	}
	has := func(set string) bool {
		if r.i < len(r.b) && bytes.IndexByte([]byte(set), r.b[r.i]) >= 0 {
			r.i++
			return true
		}
		return false
	}
	has("-")
	if !has("0") && digits() == 0 {
		return r.errorf("bad number")
	}
	if has(".") && digits() == 0 {
		return r.errorf("bad number")
	}
	if has("eE") {
		has("+-")
		if digits() == 0 {
			return r.errorf("bad number")
		}
	}
	return nil
}

// parseJSON reads one value from the whole of b.
func parseJSON(b []byte, value func(r *reader) error) error {
	r := &reader{b: b, text: string(b), keys: make([][]byte, 0, 48)}
	if err := value(r); err != nil {
		return err
	}
	return r.end()
}
