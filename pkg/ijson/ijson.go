// Package ijson reads I-JSON (RFC 7493): JSON of which no two readers can think
// differently. encoding/json takes a member twice, the last counting, a member of a
// struct under a name in another case, and text that is not Unicode with U+FFFD in its
// place; a check that was made by another reader on the way would be about something
// else than what is done here.
package ijson

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Unmarshal is json.Unmarshal of one whole text. It refuses a member that comes twice
// in its object, at any depth; a member that v's structs do not have, by its exact
// name; and strings that are not Unicode.
func Unmarshal(b []byte, v any) error { return unmarshal(b, v, false) }

// UnmarshalKnown is Unmarshal, but for members that v's structs do not have: a later
// version's, which mean nothing here.
func UnmarshalKnown(b []byte, v any) error { return unmarshal(b, v, true) }

// MaxMembers bounds what Members returns: each takes many times its text in memory.
const MaxMembers = 4096

// Members are those of an object, which is checked as Unmarshal does. They lie in b: a
// large text is not copied.
func Members(b []byte) (map[string]json.RawMessage, error) {
	s := scanner{b: b}
	if err := s.check(nil); err != nil {
		return nil, err
	}
	if s.i = 0; s.next() != '{' {
		return nil, errors.New("not an object")
	}
	members := map[string]json.RawMessage{}
	for s.i++; s.next() != '}'; {
		if len(members) == MaxMembers {
			return nil, fmt.Errorf("an object of more than %d members", MaxMembers)
		}
		name, err := s.text()
		if err != nil {
			return nil, err
		}
		s.next()
		from := s.i
		if err := s.value(nil); err != nil {
			return nil, err
		}
		members[s.name(name)] = b[from:s.i:s.i]
	}
	return members, nil
}

// Text is what a string of Members means. It lies in raw if there is no escape in it.
func Text(raw json.RawMessage) ([]byte, error) {
	if len(raw) < 2 || raw[0] != '"' {
		return nil, errors.New("not a string")
	}
	if text := raw[1 : len(raw)-1]; raw[len(raw)-1] == '"' && bytes.IndexByte(text, '\\') < 0 && bytes.IndexByte(text, '"') < 0 {
		return text[:len(text):len(text)], nil
	}
	var text string
	err := json.Unmarshal(raw, &text)
	return []byte(text), err
}

func unmarshal(b []byte, v any, open bool) error {
	s := scanner{b: b, open: open}
	if err := s.check(reflect.TypeOf(v)); err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// check walks over all of the text.
func (s *scanner) check(t reflect.Type) error {
	if !utf8.Valid(s.b) {
		return errors.New("not UTF-8")
	}
	if !json.Valid(s.b) {
		return json.Unmarshal(s.b, new(json.RawMessage)) // which says what is wrong
	}
	return s.value(t)
}

// scanner walks over JSON that is known to be valid.
type scanner struct {
	b    []byte
	i    int
	open bool // structs may have other members
	// names are those of the members of the objects around i, the outermost first: a
	// hash in the upper half, in the lower where the name lies. An object with very
	// many members is to take no more memory than its text, and little more time:
	// the hash has a key, so that nobody can send names that all have the same.
	names []uint64
	hash  maphash.Hash
}

type span struct{ from, to uint32 }

// next skips white space and punctuation and returns the first byte of a token.
func (s *scanner) next() byte {
	for bytes.IndexByte([]byte(" \t\r\n,:"), s.b[s.i]) >= 0 {
		s.i++
	}
	return s.b[s.i]
}

// value walks over a value that becomes a t; nil is a type about which nothing is known.
func (s *scanner) value(t reflect.Type) error {
	switch s.next() {
	case '{':
		return s.object(t)
	case '[':
		s.i++
		for s.next() != ']' {
			if err := s.value(elem(t, reflect.Slice, reflect.Array)); err != nil {
				return err
			}
		}
		s.i++
	case '"':
		_, err := s.text()
		return err
	default:
		for s.i < len(s.b) && bytes.IndexByte([]byte(" \t\r\n,]}"), s.b[s.i]) < 0 {
			s.i++
		}
	}
	return nil
}

func (s *scanner) object(t reflect.Type) error {
	base := len(s.names)
	fields := fieldsOf(t)
	s.i++
	for s.next() != '}' {
		at, err := s.text()
		if err != nil {
			return err
		}
		s.names = append(s.names, s.hashed(at))
		member := elem(t, reflect.Map)
		if fields != nil {
			name := s.name(at)
			var ok bool
			if member, ok = fields[name]; !ok && !(s.open && !foldsTo(fields, name)) {
				return fmt.Errorf("unknown member %s", strconv.QuoteToASCII(short(name)))
			}
		}
		if err := s.value(member); err != nil {
			return err
		}
	}
	s.i++
	mine := s.names[base:]
	slices.Sort(mine)
	for k := range mine {
		for j := k - 1; j >= 0 && mine[j]>>32 == mine[k]>>32; j-- {
			if a, b := s.at(mine[j]), s.at(mine[k]); s.same(a, b) {
				return fmt.Errorf("the member %s comes twice", strconv.QuoteToASCII(short(s.name(b))))
			}
		}
	}
	s.names = s.names[:base]
	return nil
}

// hashed is an element of names for the name there.
func (s *scanner) hashed(at span) uint64 {
	var utf [utf8.UTFMax]byte
	s.hash.Reset()
	for b := s.b[at.from+1 : at.to-1]; len(b) > 0; {
		if i := bytes.IndexByte(b, '\\'); i != 0 {
			if i < 0 {
				i = len(b)
			}
			_, _ = s.hash.Write(b[:i])
			b = b[i:]
			continue
		}
		var r rune
		r, b = char(b)
		_, _ = s.hash.Write(utf8.AppendRune(utf[:0], r))
	}
	return s.hash.Sum64()&^(1<<32-1) | uint64(at.from)
}

// at is where the name of an element of names lies.
func (s *scanner) at(name uint64) span {
	from := uint32(name)
	to := from + 1
	for ; s.b[to] != '"'; to++ {
		if s.b[to] == '\\' {
			to++
		}
	}
	return span{from, to + 1}
}

// foldsTo reports whether encoding/json would take a name for that of a field.
func foldsTo(fields map[string]reflect.Type, name string) bool {
	for f := range fields {
		if strings.EqualFold(f, name) {
			return true
		}
	}
	return false
}

// text walks over a string and returns where it lies.
func (s *scanner) text() (span, error) {
	from := s.i
	for s.i++; s.b[s.i] != '"'; s.i++ {
		if s.b[s.i] != '\\' {
			continue
		}
		if s.i++; s.b[s.i] != 'u' {
			continue
		}
		// A surrogate is half a character, and means nothing alone.
		switch unit := hex4(s.b[s.i+1:]); {
		case unit >= 0xdc00 && unit < 0xe000:
			return span{}, errors.New("half a character in a string")
		case unit >= 0xd800 && unit < 0xdc00:
			low := rune(0)
			if bytes.HasPrefix(s.b[s.i+5:], []byte(`\u`)) {
				low = hex4(s.b[s.i+7:])
			}
			if low < 0xdc00 || low >= 0xe000 {
				return span{}, errors.New("half a character in a string")
			}
			s.i += 6
		}
		s.i += 4
	}
	s.i++
	return span{uint32(from), uint32(s.i)}, nil
}

// name is a member's name as it is meant.
func (s *scanner) name(at span) string {
	raw := s.b[at.from:at.to]
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var name string
	_ = json.Unmarshal(raw, &name) // valid
	return name
}

// same reports whether two names mean the same, without a copy: whoever sends names can
// write each letter as an escape.
func (s *scanner) same(a, b span) bool {
	x, y := s.b[a.from+1:a.to-1], s.b[b.from+1:b.to-1]
	if bytes.IndexByte(x, '\\') < 0 && bytes.IndexByte(y, '\\') < 0 {
		return bytes.Equal(x, y)
	}
	for len(x) > 0 && len(y) > 0 {
		var p, q rune
		p, x = char(x)
		q, y = char(y)
		if p != q {
			return false
		}
	}
	return len(x) == len(y)
}

// char is the first character of a name that is valid, and what follows.
func char(b []byte) (rune, []byte) {
	if b[0] != '\\' {
		r, n := utf8.DecodeRune(b)
		return r, b[n:]
	}
	switch b[1] {
	case 'b':
		return '\b', b[2:]
	case 'f':
		return '\f', b[2:]
	case 'n':
		return '\n', b[2:]
	case 'r':
		return '\r', b[2:]
	case 't':
		return '\t', b[2:]
	case 'u':
		r := hex4(b[2:])
		if !utf16.IsSurrogate(r) {
			return r, b[6:]
		}
		return utf16.DecodeRune(r, hex4(b[8:])), b[12:]
	}
	return rune(b[1]), b[2:]
}

// hex4 is the number of four hex digits.
func hex4(b []byte) rune {
	n := rune(0)
	for _, c := range b[:4] {
		switch {
		case c >= 'a':
			c -= 'a' - 10
		case c >= 'A':
			c -= 'A' - 10
		default:
			c -= '0'
		}
		n = n<<4 | rune(c)
	}
	return n
}

func short(name string) string {
	if len(name) > 40 {
		return name[:40] + "..."
	}
	return name
}

// plain is t without pointers; nil for what reads its text itself.
func plain(t reflect.Type) reflect.Type {
	for t != nil {
		if t.Implements(unmarshaler) || reflect.PointerTo(t).Implements(unmarshaler) || reflect.PointerTo(t).Implements(textUnmarshaler) {
			return nil
		}
		if t.Kind() != reflect.Pointer {
			return t
		}
		t = t.Elem()
	}
	return nil
}

var (
	unmarshaler     = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// elem is the type of the elements of t, if t is of one of these kinds.
func elem(t reflect.Type, kinds ...reflect.Kind) reflect.Type {
	if t = plain(t); t != nil && slices.Contains(kinds, t.Kind()) {
		return t.Elem()
	}
	return nil
}

// fieldsOf are the members of a struct; nil for what is none.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	if t = plain(t); t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	fields := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			for n, m := range fieldsOf(f.Type) {
				fields[n] = m
			}
		case !f.IsExported() || name == "-":
		case name == "":
			fields[f.Name] = f.Type
		default:
			fields[name] = f.Type
		}
	}
	return fields
}
