package ijson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

type inner struct {
	N    int             `json:"n"`
	Raw  json.RawMessage `json:"raw,omitempty"`
	Skip int             `json:"-"`
}

type document struct {
	Name  string            `json:"name"`
	In    inner             `json:"in"`
	List  []inner           `json:"list"`
	Map   map[string]*inner `json:"map"`
	Env   map[string]string `json:"env"`
	Bytes []byte            `json:"bytes"`
	Any   any               `json:"any"`
	Plain bool
	own
}

type own struct {
	Embedded int `json:"embedded"`
}

func TestUnmarshal(t *testing.T) {
	const text = ` { "name" : "a\u00e9\ud83d\ude00\"" , "in":{"n":-1.0e1,"raw":{"a":[1,{"b":null}]}},"list":[{"n":1},{"n":2}],
		"map":{"x":{"n":3},"X":null},"env":{"a":"1","A":"2"},"bytes":"AAE=","any":[{"n":{}},true],"Plain":true,"embedded":7}`
	var got, want document
	if err := json.Unmarshal([]byte(strings.Replace(text, "-1.0e1", "-10", 1)), &want); err != nil {
		t.Fatal(err)
	}
	if err := Unmarshal([]byte(strings.Replace(text, "-1.0e1", "-10", 1)), &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	for _, ok := range []string{`{}`, ` null `, `{"any":1}`, `{"any":-0}`, `{"in":{},"list":[],"map":{}}`, `{"\u006eame":"x"}`} {
		if err := Unmarshal([]byte(ok), new(document)); err != nil {
			t.Errorf("%s: %v", ok, err)
		}
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	for text, want := range map[string]string{
		``:                                   "unexpected end",
		`{`:                                  "unexpected end",
		`{} {}`:                              "after top-level value",
		`{},`:                                "after top-level value",
		`5`:                                  "cannot unmarshal number",
		`{"name":5}`:                         "cannot unmarshal number",
		`{"name":"a","name":"a"}`:            `"name" comes twice`,
		`{"name":"a","in":{},"name":"b"}`:    `"name" comes twice`,
		`{"name":"a","\u006eame":"b"}`:       `"name" comes twice`,
		`{"Name":"a"}`:                       `unknown member "Name"`,
		`{"plain":true}`:                     `unknown member "plain"`,
		`{"other":1}`:                        `unknown member "other"`,
		`{"in":{"N":1}}`:                     `unknown member "N"`,
		`{"in":{"-":1}}`:                     `unknown member "-"`,
		`{"in":{"Skip":1}}`:                  `unknown member "Skip"`,
		`{"in":{"n":1,"n":1}}`:               `"n" comes twice`,
		`{"in":{"raw":{"a":1,"b":2,"a":3}}}`: `"a" comes twice`,
		`{"list":[{"n":1},{"n":1,"n":2}]}`:   `"n" comes twice`,
		`{"list":[{"N":1}]}`:                 `unknown member "N"`,
		`{"map":{"x":{"N":1}}}`:              `unknown member "N"`,
		`{"env":{"a":"1","a":"1"}}`:          `"a" comes twice`,
		`{"any":[[{"a":1,"\u0061":2}]]}`:     `"a" comes twice`,
		`{"Embedded":1}`:                     `unknown member "Embedded"`,
		`{"` + strings.Repeat("x", 99) + `":1,"` + strings.Repeat("x", 99) + `":1}`: "unknown member \"" + strings.Repeat("x", 40) + "...",
		"{\"name\":\"\xff\"}":         "not UTF-8",
		`{"name":"\ud800"}`:           "half a character",
		`{"name":"\udc00"}`:           "half a character",
		`{"name":"\ud800\u0041"}`:     "half a character",
		`{"name":"\ud800x"}`:          "half a character",
		`{"any":{"\uDFFF":1}}`:        "half a character",
		`{"name":"\ud83d\ude00\ude"}`: "invalid character",
	} {
		if err := Unmarshal([]byte(text), new(document)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", text, err, want)
		}
	}
	var m map[string]json.RawMessage
	if err := Unmarshal([]byte(`{"a":{"b":1,"b":2}}`), &m); err == nil {
		t.Error("a member comes twice below one that is not looked at")
	}
	deep := strings.Repeat(`{"a":`, 11000) + "1" + strings.Repeat("}", 11000)
	if err := Unmarshal([]byte(deep), &m); err == nil {
		t.Error("there is no bound to depth")
	}
}

func TestUnmarshalKnown(t *testing.T) {
	var d document
	if err := UnmarshalKnown([]byte(`{"other":{"x":[1]},"name":"a","in":{"more":1,"n":2}}`), &d); err != nil || d.Name != "a" || d.In.N != 2 {
		t.Errorf("%+v, %v", d, err)
	}
	for text, want := range map[string]string{
		`{"other":1,"other":1}`: "twice", `{"other":{"a":1,"a":1}}`: "twice", `{"NAME":"a"}`: "unknown member", `{"in":{"N":1}}`: "unknown member",
		`{"other":"\ud800"}`: "half a character",
	} {
		if err := UnmarshalKnown([]byte(text), &d); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", text, err, want)
		}
	}
}

func TestMembers(t *testing.T) {
	text := []byte(` { "a" : "x" ,"b":[1, {"c":2}], "\u0063":-1.5e3,"d":"\u00e9\n" , "e":{} , "f":"" , "g": true }  `)
	got, err := Members(text)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]json.RawMessage{"a": []byte(`"x"`), "b": []byte(`[1, {"c":2}]`), "c": []byte("-1.5e3"), "d": []byte(`"\u00e9\n"`),
		"e": []byte("{}"), "f": []byte(`""`), "g": []byte("true")}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s; want %s", got, want)
	}
	for name, text := range map[string]string{"a": "x", "d": "é\n", "f": ""} {
		if b, err := Text(got[name]); err != nil || string(b) != text {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	for _, name := range []string{"b", "c", "e", "g", "none"} {
		if b, err := Text(got[name]); err == nil {
			t.Errorf("%s is the text %q", name, b)
		}
	}
	for text, want := range map[string]string{
		``: "unexpected end", `[]`: "not an object", `null`: "not an object", `"a"`: "not an object", `{"a":1,"a":2}`: "twice", `{"a":{"b":1,"b":1}}`: "twice",
		`{"a":1}x`: "invalid character", `{"a":"\udc00"}`: "half a character", "{\"a\":\"\xff\"}": "not UTF-8",
	} {
		if _, err := Members([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", text, err, want)
		}
	}
	big := []byte(`{"a":"` + strings.Repeat("x", 1<<20) + `"}`)
	if n := testing.AllocsPerRun(5, func() {
		m, err := Members(big)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := Text(m["a"]); err != nil || len(b) != 1<<20 {
			t.Fatal(err)
		}
	}); n > 12 {
		t.Errorf("%v allocations", n)
	}
}

// TestAllocation: many members take no more memory than their text does.
func TestAllocation(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("[0")
	for range 10_000 {
		b.WriteString(`,{"longer":1,"names":2}`)
	}
	b.WriteString("]")
	s := scanner{b: b.Bytes()}
	if n := testing.AllocsPerRun(5, func() {
		s.i = 0
		if err := s.value(nil); err != nil {
			t.Fatal(err)
		}
	}); n > 10 {
		t.Errorf("%v allocations", n)
	}
	if cap(s.names) > 16 {
		t.Errorf("%d names are kept", cap(s.names))
	}
}

// repeats reads a value by tokens and reports whether a member comes twice in it.
func repeats(d *json.Decoder) (twice bool) {
	open, _ := d.Token() // it is valid
	seen := map[string]bool{}
	switch open {
	case json.Delim('{'):
		for d.More() {
			key, _ := d.Token()
			name, _ := key.(string)
			below := repeats(d)
			twice = twice || seen[name] || below
			seen[name] = true
		}
		_, _ = d.Token()
	case json.Delim('['):
		for d.More() {
			below := repeats(d)
			twice = twice || below
		}
		_, _ = d.Token()
	}
	return twice
}

func FuzzUnmarshal(f *testing.F) {
	for _, s := range []string{`{"name":"a","in":{"n":1},"list":[{}],"map":{"x":{"n":1}},"any":{"a":{"a":1}}}`,
		`[{"a":"\ud83d\ude00","b":-1e5},[],{},"",null]`, `{"a":1,"\u0061":2}`, `{"\ud800":1}`, ` "x" `} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var v any // of valid text it takes all but numbers that are no float64
		err := Unmarshal(b, &v)
		twice := false
		if json.Valid(b) {
			d := json.NewDecoder(bytes.NewReader(b))
			d.UseNumber()
			twice = repeats(d)
		}
		if err == nil {
			var again any
			if json.Unmarshal(b, &again) != nil || !reflect.DeepEqual(v, again) {
				t.Errorf("%q is read as %v, and as %v", b, v, again)
			}
			if twice {
				t.Errorf("%q has a member twice", b)
			}
		} else if json.Unmarshal(b, new(any)) == nil && !twice && !strings.Contains(err.Error(), "half a character") && !strings.Contains(err.Error(), "UTF-8") {
			t.Errorf("%q: %v", b, err)
		}
		var object map[string]json.RawMessage
		if members, err := Members(b); (err == nil) != (Unmarshal(b, &object) == nil && object != nil && len(object) <= MaxMembers) || err == nil && !reflect.DeepEqual(members, object) {
			t.Errorf("%q is the object %s, and %s: %v", b, members, object, err)
		}
		for _, raw := range object {
			var want *string
			got, err := Text(raw)
			if text := json.Unmarshal(raw, &want) == nil && want != nil; text != (err == nil) || text && *want != string(got) {
				t.Errorf("%s is the text %q, %v", raw, got, err)
			}
		}
		var d document
		if Unmarshal(b, &d) == nil {
			text, err := json.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			if err := Unmarshal(text, new(document)); err != nil {
				t.Errorf("%s: %v", text, err)
			}
		}
	})
}

// TestSameNames: names are the same that mean the same, however they are written, and
// nothing is copied to find out.
func TestSameNames(t *testing.T) {
	same := [][]string{
		{`""`},
		{`"\b"`, `"\u0008"`},
		{`"\t"`, `"\u0009"`},
		{`"\n"`, `"\u000a"`, `"\u000A"`},
		{`"\f"`, `"\u000c"`},
		{`"\r"`, `"\u000d"`},
		{`"\""`, `"\u0022"`},
		{`"/"`, `"\/"`, `"\u002f"`},
		{`"\\"`, `"\u005c"`},
		{`"a"`, `"\u0061"`},
		{`"ab"`, `"\u0061b"`, `"a\u0062"`},
		{`"é"`, `"\u00e9"`, `"\u00E9"`},
		{`"\uffff"`},
		{`"😀"`, `"\ud83d\ude00"`, `"\uD83D\uDE00"`},
	}
	for i, a := range same {
		for k, b := range same {
			for _, x := range a {
				for _, y := range b {
					s := scanner{b: []byte(x + y)}
					p, q := span{0, uint32(len(x))}, span{uint32(len(x)), uint32(len(x + y))}
					if got := s.same(p, q); got != (i == k) {
						t.Errorf("%s and %s are the same: %t", x, y, got)
					}
					if a, b := s.hashed(p), s.hashed(q); a>>32 == b>>32 != (i == k) || s.at(a) != p || s.at(b) != q {
						t.Errorf("%s and %s: %x at %v, %x at %v", x, y, a, s.at(a), b, s.at(b))
					}
					if n := testing.AllocsPerRun(1, func() { s.same(p, q); s.hashed(p) }); n != 0 {
						t.Errorf("%s and %s: %v allocations", x, y, n)
					}
				}
			}
		}
	}
}

// TestMembersBound: each member takes more memory than its text.
func TestMembersBound(t *testing.T) {
	object := func(n int) []byte {
		b := []byte("{")
		for i := range n {
			b = fmt.Appendf(b, `"%d":0,`, i)
		}
		return append(b[:len(b)-1], '}')
	}
	if m, err := Members(object(MaxMembers)); err != nil || len(m) != MaxMembers {
		t.Errorf("%d members, %v", len(m), err)
	}
	if _, err := Members(object(MaxMembers + 1)); err == nil {
		t.Error("one member more is taken")
	}
}

// BenchmarkNames: 16 MiB of names that are written as escapes.
func BenchmarkNames(b *testing.B) {
	text := []byte("{")
	for i := 0; len(text) < 16<<20; i++ {
		text = fmt.Appendf(text, "\"\\u0061%d\":0,", i)
	}
	text[len(text)-1] = '}'
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if err := (&scanner{b: text}).check(nil); err != nil {
			b.Fatal(err)
		}
	}
}
