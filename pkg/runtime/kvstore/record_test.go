package kvstore

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

// texts are the decoders of what is encrypted, each to the bytes again.
var texts = []struct {
	name   string
	sample []byte
	again  func(b []byte) ([]byte, error)
}{
	{"log", sampleLog().appendText(nil), func(b []byte) ([]byte, error) {
		r, err := parseLog(b)
		return r.appendText(nil), err
	}},
	{"checkpoint", (&checkpoint{1, digest{2}, ref{3, 4}, 5, 6, 7}).appendText(nil), func(b []byte) ([]byte, error) {
		p, err := parseCheckpoint(b)
		return p.appendText(nil), err
	}},
	{"leaf", sampleLeaf().appendText(nil), againNode},
	{"inner node", sampleInner().appendText(nil), againNode},
}

func againNode(b []byte) ([]byte, error) {
	n, err := parseNode(b)
	if err != nil {
		return nil, err
	}
	return n.appendText(nil), nil
}

func sampleLog() *logRecord {
	return &logRecord{prev: digest{1, 31: 2}, session: 3, ops: []logOp{{key: "\x01tkey", seq: 300, size: 160}, {key: "\x01tgone", delete: true}, {key: "\x01t\x00"}}}
}

func sampleLeaf() *node {
	return &node{
		keys:    []string{"\x01t", "\x01ta", "\x01tab", "\x01tb"},
		entries: []entry{{version: version{1, 9}, size: 160}, {version: version{1 << 40, 8}}, {version: version{3, 9}, size: MaxValue}, {version: version{4, 7}}},
	}
}

func sampleInner() *node {
	return &node{keys: []string{"\x01tkey 5", "\x01tkey 7"}, kids: []kid{{ref: ref{1, 9}}, {ref: ref{2, 9}}, {ref: ref{3, 8}}}}
}

func TestTexts(t *testing.T) {
	for _, c := range texts {
		got, err := c.again(c.sample)
		if err != nil || !bytes.Equal(got, c.sample) {
			t.Errorf("%s: % x comes back as % x, %v", c.name, c.sample, got, err)
		}
		for n := range c.sample {
			if _, err := c.again(c.sample[:n]); !errors.Is(err, errText) {
				t.Errorf("%s: %d bytes of %d parse: %v", c.name, n, len(c.sample), err)
			}
		}
		if _, err := c.again(append(bytes.Clone(c.sample), 0)); !errors.Is(err, errText) {
			t.Errorf("%s: a byte too many: %v", c.name, err)
		}
	}
	r, err := parseLog(texts[0].sample)
	if err != nil || !reflect.DeepEqual(r, sampleLog()) {
		t.Errorf("%+v, %v", r, err)
	}
	n, err := parseNode(texts[2].sample)
	if want := sampleLeaf(); err != nil || !reflect.DeepEqual(n.keys, want.keys) || !reflect.DeepEqual(n.entries, want.entries) {
		t.Errorf("%+v, %v", n, err)
	}
	n, err = parseNode(texts[3].sample)
	if want := sampleInner(); err != nil || !reflect.DeepEqual(n.keys, want.keys) || !reflect.DeepEqual(n.kids, want.kids) {
		t.Errorf("%+v, %v", n, err)
	}
}

func FuzzTexts(f *testing.F) {
	for i, c := range texts {
		f.Add(byte(i), c.sample)
	}
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		c := texts[int(which)%len(texts)]
		got, err := c.again(b)
		switch {
		case err != nil && !errors.Is(err, errText):
			t.Fatal(err)
		case err == nil && !bytes.Equal(got, b):
			t.Fatalf("%s: % x comes back as % x", c.name, b, got)
		}
	})
}

func FuzzParseRoot(f *testing.F) {
	s := newStore(nil, testMaster, Options{})
	h := s.rootHeader(7)
	f.Add(s.box.seal(bytes.Clone(h), make([]byte, digestSize), h))
	f.Add(h)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRoot(b)
		if err == nil && !bytes.Equal(le.AppendUint64(append([]byte(rootMagic), r.Store[:]...), r.Commit), b[:rootHeader]) {
			t.Fatalf("% x: %+v", b, r)
		}
	})
}
