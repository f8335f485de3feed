package kvwire

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

// codec is a payload: it parses bytes and gives those that the result stands for.
type codec struct {
	name   string
	sample []byte
	again  func(b []byte) ([]byte, error)
}

var codecs = []codec{
	{"put", AppendPut(nil, "t", []byte("key"), []byte("value")), func(b []byte) ([]byte, error) {
		t, k, v, err := ParsePut(b)
		return AppendPut(nil, t, k, v), err
	}},
	{"get", AppendGet(nil, "t", []byte("key")), func(b []byte) ([]byte, error) {
		t, k, err := ParseGet(b)
		return AppendGet(nil, t, k), err
	}},
	{"list keys", AppendListKeys(nil, "t", []byte("pre")), func(b []byte) ([]byte, error) {
		t, p, err := ParseListKeys(b)
		return AppendListKeys(nil, t, p), err
	}},
	{"write batch", AppendWriteBatch(nil, "t", []Op{{Key: []byte("a"), Value: []byte("b")}, {Key: []byte("c"), Delete: true}, {Key: []byte("d")}}), func(b []byte) ([]byte, error) {
		t, ops, err := ParseWriteBatch(b)
		return AppendWriteBatch(nil, t, ops), err
	}},
	{"multi get", AppendMultiGet(nil, "t", [][]byte{{1}, {2, 3}}), func(b []byte) ([]byte, error) {
		t, keys, err := ParseMultiGet(b)
		return AppendMultiGet(nil, t, keys), err
	}},
	{"delete range", AppendDeleteRange(nil, "t", []byte("a"), []byte("b")), func(b []byte) ([]byte, error) {
		t, s, e, err := ParseDeleteRange(b)
		return AppendDeleteRange(nil, t, s, e), err
	}},
	{"state get", []byte("config"), func(b []byte) ([]byte, error) {
		n, err := ParseStateGet(b)
		return []byte(n), err
	}},
	{"state put", AppendStatePut(nil, "config", []byte("content")), func(b []byte) ([]byte, error) {
		n, c, err := ParseStatePut(b)
		return AppendStatePut(nil, n, c), err
	}},
	{"keys", AppendKeys(nil, [][]byte{{1}, {2, 3}}), func(b []byte) ([]byte, error) {
		keys, err := ParseKeys(b)
		return AppendKeys(nil, keys), err
	}},
	{"values", AppendValues(nil, [][]byte{{1}, nil, {}}), func(b []byte) ([]byte, error) {
		n := 3
		if len(b) >= 4 {
			n = int(le.Uint32(b))
		}
		v, err := ParseValues(b, n)
		return AppendValues(nil, v), err
	}},
	{"pairs", AppendPairs(nil, []Pair{{[]byte("a"), []byte("b")}, {[]byte("c"), nil}}), func(b []byte) ([]byte, error) {
		p, err := ParsePairs(b)
		return AppendPairs(nil, p), err
	}},
	{"scan", AppendScan(nil, "t", 7, []byte("a"), []byte("b")), func(b []byte) ([]byte, error) {
		t, limit, s, e, err := ParseScan(b)
		return AppendScan(nil, t, uint32(limit), s, e), err
	}},
	{"commit", AppendCommit(nil, 9, "t", []Op{{Key: []byte("a"), Value: []byte("b")}, {Key: []byte("c"), Delete: true}}), func(b []byte) ([]byte, error) {
		n, t, ops, err := ParseCommit(b)
		return AppendCommit(nil, n, t, ops), err
	}},
	{"nothing", nil, func(b []byte) ([]byte, error) { return nil, ParseNothing(b) }},
}

func isError(err error) bool {
	var e *Error
	return errors.As(err, &e)
}

// openEnded are payloads whose last part has no length of its own: prefixes of them
// that are long enough parse, and are something else.
var openEnded = map[string]int{"put": 2 + 1 + 4 + 3, "get": 4, "list keys": 3, "delete range": 2 + 1 + 4 + 1, "state get": 1, "state put": 2 + 6, "scan": 2 + 1 + 4 + 4 + 1}

func TestCodecs(t *testing.T) {
	for _, c := range codecs {
		got, err := c.again(c.sample)
		if err != nil || !bytes.Equal(got, c.sample) {
			t.Errorf("%s: % x comes back as % x, %v", c.name, c.sample, got, err)
		}
		limit, ok := openEnded[c.name]
		if !ok {
			limit = len(c.sample)
			if _, err := c.again(append(bytes.Clone(c.sample), 0)); !isError(err) {
				t.Errorf("%s: a byte too many: %v", c.name, err)
			}
		}
		for n := range limit {
			if _, err := c.again(c.sample[:n]); !isError(err) {
				t.Errorf("%s: %d bytes of %d parse: %v", c.name, n, len(c.sample), err)
			}
		}
	}
}

func TestValuesOfParsing(t *testing.T) {
	table, ops, err := ParseWriteBatch(codecs[3].sample)
	want := []Op{{Key: []byte("a"), Value: []byte("b")}, {Key: []byte("c"), Delete: true}, {Key: []byte("d"), Value: []byte{}}}
	if err != nil || table != "t" || !reflect.DeepEqual(ops, want) {
		t.Errorf("%q %v %v", table, ops, err)
	}
	v, err := ParseValues(AppendValues(nil, [][]byte{{1}, nil, {}}), 3)
	if err != nil || string(v[0]) != "\x01" || v[1] != nil || v[2] == nil || len(v[2]) != 0 {
		t.Errorf("%v %v", v, err)
	}
	if _, limit, _, _, _ := ParseScan(AppendScan(nil, "t", 0, nil, nil)); limit != MaxItems {
		t.Errorf("limit 0 is %d", limit)
	}
	if _, limit, _, _, _ := ParseScan(AppendScan(nil, "t", 1<<31, nil, nil)); limit != MaxItems {
		t.Errorf("a limit beyond all is %d", limit)
	}
}

// TestBytes holds the layout of Enclave OS Mini's methods.
func TestBytes(t *testing.T) {
	for name, c := range map[string]struct{ got, want string }{
		"put":   {string(AppendPut(nil, "tb", []byte("k"), []byte("v"))), "\x02\x00tb\x01\x00\x00\x00kv"},
		"get":   {string(AppendGet(nil, "tb", []byte("k"))), "\x02\x00tbk"},
		"batch": {string(AppendWriteBatch(nil, "t", []Op{{Key: []byte("k"), Value: []byte("v")}, {Key: []byte("d"), Delete: true}})), "\x01\x00t\x02\x00\x00\x00\x00\x01\x00\x00\x00k\x01\x00\x00\x00v\x01\x01\x00\x00\x00d"},
		"multi": {string(AppendMultiGet(nil, "t", [][]byte{[]byte("k")})), "\x01\x00t\x01\x00\x00\x00\x01\x00\x00\x00k"},
		"scan":  {string(AppendScan(nil, "t", 5, []byte("a"), []byte("z"))), "\x01\x00t\x05\x00\x00\x00\x01\x00\x00\x00az"},
		"keys":  {string(AppendKeys(nil, [][]byte{[]byte("k")})), "\x01\x00\x00\x00\x01\x00\x00\x00k"},
		"value": {string(AppendValues(nil, [][]byte{[]byte("v"), nil})), "\x02\x00\x00\x00\x01\x01\x00\x00\x00v\x00"},
		"pairs": {string(AppendPairs(nil, []Pair{{[]byte("k"), []byte("v")}})), "\x01\x00\x00\x00\x01\x00\x00\x00k\x01\x00\x00\x00v"},
	} {
		if c.got != c.want {
			t.Errorf("%s: % x, want % x", name, c.got, c.want)
		}
	}
}

func TestRefused(t *testing.T) {
	long := bytes.Repeat([]byte("k"), MaxKey+1)
	for name, err := range map[string]error{
		"no table":          second(ParseGet(AppendGet(nil, "", []byte("k")))),
		"long table":        second(ParseGet(AppendGet(nil, string(long[:MaxTable+1]), []byte("k")))),
		"no key":            second(ParseGet(AppendGet(nil, "t", nil))),
		"long key":          second(ParseGet(AppendGet(nil, "t", long))),
		"long prefix":       second(ParseListKeys(AppendListKeys(nil, "t", long))),
		"empty key put":     third(ParsePut(AppendPut(nil, "t", nil, nil))),
		"long value":        third(ParsePut(AppendPut(nil, "t", []byte("k"), make([]byte, MaxValue+1)))),
		"op 2":              second(ParseWriteBatch([]byte("\x01\x00t\x01\x00\x00\x00\x02\x01\x00\x00\x00k"))),
		"huge count":        second(ParseWriteBatch([]byte("\x01\x00t\xff\xff\xff\xff\x01\x01\x00\x00\x00k"))),
		"present 2":         first(ParseValues([]byte("\x01\x00\x00\x00\x02"), 1)),
		"too few values":    first(ParseValues(AppendValues(nil, [][]byte{{1}}), 2)),
		"too many values":   first(ParseValues(AppendValues(nil, [][]byte{{1}, {2}}), 1)),
		"same keys":         first(ParseKeys(AppendKeys(nil, [][]byte{{1}, {1}}))),
		"pairs descend":     first(ParsePairs(AppendPairs(nil, []Pair{{Key: []byte{2}}, {Key: []byte{1}}}))),
		"upper case name":   first(ParseStateGet([]byte("Config"))),
		"path":              first(ParseStateGet([]byte("../config"))),
		"first dash":        first(ParseStateGet([]byte("-c"))),
		"long name":         first(ParseStateGet(long[:MaxName+1])),
		"large file":        second(ParseStatePut(AppendStatePut(nil, "config", make([]byte, MaxFile+1)))),
		"bytes for nothing": ParseNothing([]byte{0}),
	} {
		if !isError(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func first[A any](_ A, err error) error          { return err }
func second[A, B any](_ A, _ B, err error) error { return err }

func third[A, B, C any](_ A, _ B, _ C, err error) error { return err }

func FuzzPayloads(f *testing.F) {
	for i, c := range codecs {
		f.Add(byte(i), c.sample)
	}
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		c := codecs[int(which)%len(codecs)]
		got, err := c.again(b)
		switch {
		case err != nil && !isError(err):
			t.Fatalf("%s: %v", c.name, err)
		case err == nil && c.name != "scan" && !bytes.Equal(got, b):
			t.Fatalf("%s: % x comes back as % x", c.name, b, got)
		}
	})
}
