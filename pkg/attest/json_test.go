package attest

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestJSONReader(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, c := range []struct {
		text string
		ok   bool
	}{
		{`{}`, true}, {` [ ] `, true}, {`{"a":1,"b":[true,false,null,-0.5e+3,"x"]}`, true}, {deep(maxDepth), true}, {`"\u00e9\ud83d\ude00\n"`, true},
		{`{"a":1,"a":2}`, false},      // twice
		{`{"a":1,"\u0061":2}`, false}, // twice, in disguise
		{deep(maxDepth + 1), false},   // too deep
		{`{"a":1,}`, false}, {`[1,]`, false}, {`[1 2]`, false}, {`{"a" 1}`, false}, {`{a:1}`, false}, {`{"a":1`, false}, {`{} {}`, false}, {``, false},
		{`01`, false}, {`-`, false}, {`1.`, false}, {`1e`, false}, {`+1`, false}, {`tru`, false}, {`nul`, false}, {`"`, false}, {`"\`, false}, {`"\x"`, false},
		{`"\ud83d"`, false}, {`"\ud83dx"`, false}, {`"\u12"`, false}, {"\"\n\"", false}, {"\"\xff\"", false}, {"[1]\x00", false}, {"\x00", false},
	} {
		err := parseJSON([]byte(c.text), func(r *reader) error { return r.skip() })
		if (err == nil) != c.ok {
			t.Errorf("%q: %v", c.text, err)
		}
		if c.ok && !json.Valid([]byte(c.text)) {
			t.Errorf("%q: encoding/json refuses it", c.text)
		}
	}
	var s string
	text := `"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"`
	var want string
	if err := json.Unmarshal([]byte(text), &want); err != nil {
		t.Fatal(err)
	}
	if err := parseJSON([]byte(text), func(r *reader) (err error) { s, err = r.str(); return err }); err != nil || s != want {
		t.Errorf("%q %v, want %q", s, err, want)
	}
	for text, ok := range map[string]bool{`0`: true, `255`: true, `256`: false, `-1`: false, `1.0`: false, `1e2`: false, `00`: false, `"1"`: false, ``: false, `99999999999999999999`: false} {
		if err := parseJSON([]byte(text), func(r *reader) error { _, err := r.number(255); return err }); (err == nil) != ok {
			t.Errorf("number %q: %v", text, err)
		}
	}
}

// What we read, encoding/json reads too.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"b":"\ud83d\ude00"}]}`, `-0.5e3`, `"\u0061"`, ` null `} {
		f.Add([]byte(s))
	}
	f.Add([]byte("1E1000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &reader{b: b, text: string(b)}
		raw, err := r.raw()
		if err == nil && !json.Valid(raw) { // not Unmarshal: it refuses numbers beyond float64
			t.Fatalf("%q is no JSON", raw)
		}
		var s string
		if parseJSON(b, func(r *reader) (err error) { s, err = r.str(); return err }) == nil {
			var want string
			if json.Unmarshal(b, &want) != nil || s != want {
				t.Fatalf("%q: %q, want %q", b, s, want)
			}
		}
	})
}
