package measure

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func leaves(n int) []Leaf {
	var out []Leaf
	for i := range n {
		out = append(out, Leaf{fmt.Sprintf("leaf.%04d", i), fmt.Appendf(nil, "value %d", i)})
	}
	return out
}

func mustTree(t testing.TB, leaves ...Leaf) *Tree {
	t.Helper()
	tree, err := New(leaves...)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// The hash of a leaf and of a node, by the bytes of the package's table.
func TestTreeByTable(t *testing.T) {
	sum := func(parts ...string) string {
		s := sha256.Sum256([]byte(strings.Join(parts, "")))
		return string(s[:])
	}
	const tag = "\x00eos config leaf v1\x00"
	a := sum(tag, "\x00\x01", "a", "\x01", sum("1"))
	b := sum(tag, "\x00\x02", "bb", "\x00")
	c := sum(tag, "\x00\x01", "c", "\x01", sum(""))
	want := sum("\x01", sum("\x01", a, b), c)
	tree := mustTree(t, Leaf{"c", []byte{}}, Leaf{"a", []byte("1")}, Leaf{"bb", nil})
	if got := tree.Root(); string(got[:]) != want {
		t.Errorf("root %v, want %x", got, want)
	}
	if got := mustTree(t, Leaf{"a", []byte("1")}).Root().String(); got != hex.EncodeToString([]byte(a)) {
		t.Errorf("one leaf: %s", got)
	}
	if got := mustTree(t).Root().String(); got != "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" {
		t.Errorf("no leaf: %s", got)
	}
}

// naive is MTH of RFC 6962 as its text has it, over the same leaf hashes.
func naive(h []Hash) Hash {
	if len(h) == 1 {
		return h[0]
	}
	k := 1
	for 2*k < len(h) {
		k *= 2
	}
	l, r := naive(h[:k]), naive(h[k:])
	return sha256.Sum256(append(append([]byte{1}, l[:]...), r[:]...))
}

func TestProofs(t *testing.T) {
	for _, n := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 32, 33, 100} {
		tree := mustTree(t, leaves(n)...)
		if tree.Root() != naive(tree.hashes) || tree.Len() != n {
			t.Errorf("%d leaves: root %v", n, tree.Root())
		}
		for i, l := range leaves(n) {
			p, ok := tree.Prove(l.Name)
			if !ok || p.Index != i || p.Leaves != n || p.Leaf.Text != string(l.Data) {
				t.Fatalf("%d of %d: %+v", i, n, p)
			}
			if err := p.Verify(tree.Root()); err != nil {
				t.Error(err)
			}
			b, _ := p.AppendJSON(nil)
			again, err := ParseProof(b)
			if err != nil || !reflect.DeepEqual(again, p) {
				t.Errorf("%s: %+v, %v", b, again, err)
			}
		}
	}
	if _, ok := mustTree(t, leaves(3)...).Prove("leaf.0003"); ok {
		t.Error("a proof of a leaf that is not there")
	}
}

// Whatever is changed, a proof proves nothing any more.
func TestProofsRefuse(t *testing.T) {
	tree := mustTree(t, leaves(11)...)
	name := "leaf.0004"
	for what, change := range map[string]func(*Proof){
		"another name":    func(p *Proof) { p.Leaf.Name = "leaf.0005" },
		"another value":   func(p *Proof) { p.Leaf.Text = ""; h := *p.Leaf.Hash; h[0] ^= 1; p.Leaf.Hash = &h },
		"absent":          func(p *Proof) { p.Leaf.Text = ""; p.Leaf.Hash = nil },
		"another text":    func(p *Proof) { p.Leaf.Text = "value 5" },
		"another place":   func(p *Proof) { p.Index++ },
		"outside":         func(p *Proof) { p.Index = 11 },
		"negative":        func(p *Proof) { p.Index = -1 },
		"fewer leaves":    func(p *Proof) { p.Leaves = 5 },
		"more leaves":     func(p *Proof) { p.Leaves = 20 },
		"too many leaves": func(p *Proof) { p.Leaves = MaxLeaves + 1 },
		"a short path":    func(p *Proof) { p.Path = p.Path[1:] },
		"a long path":     func(p *Proof) { p.Path = append(p.Path, Hash{}) },
		"a longer path":   func(p *Proof) { p.Path = make([]Hash, maxPath+1) },
		"no path":         func(p *Proof) { p.Path = nil },
		"a wrong hash":    func(p *Proof) { p.Path[2][5] ^= 4 },
		"swapped hashes":  func(p *Proof) { p.Path[0], p.Path[1] = p.Path[1], p.Path[0] },
		"another format":  func(p *Proof) { p.Format = "v2" },
	} {
		p, _ := tree.Prove(name)
		change(p)
		if err := p.Verify(tree.Root()); err == nil {
			t.Errorf("%s: it verifies", what)
		}
	}
	p, _ := tree.Prove(name)
	other := mustTree(t, leaves(12)...).Root()
	p.Root = other
	if p.Verify(other) == nil {
		t.Error("the root that it claims is what counts")
	}
	if p.Verify(tree.Root()) != nil {
		t.Error("the root that it claims makes a difference")
	}
}

// Configurations that a weaker tree takes for one another.
func TestDifferentConfigurations(t *testing.T) {
	two := mustTree(t, leaves(2)...)
	inner := slices.Concat([]byte{1}, two.hashes[0][:], two.hashes[1][:])
	roots := map[Hash]string{}
	for what, ls := range map[string][]Leaf{
		"none":         {},
		"absent":       {{"a", nil}},
		"empty":        {{"a", []byte{}}},
		"zeros":        {{"a", make([]byte, 32)}},
		"moved":        {{"ab", []byte("c")}},
		"moved back":   {{"a", []byte("bc")}},
		"two":          {{"a", []byte("1")}, {"b", []byte("2")}},
		"exchanged":    {{"a", []byte("2")}, {"b", []byte("1")}},
		"joined":       {{"a", []byte("12")}, {"b", nil}},
		"the first":    leaves(2),
		"its node":     {{"leaf.0000", inner}},
		"twice at end": append(leaves(2), Leaf{"leaf.0002", []byte("value 1")}),
	} {
		root := mustTree(t, ls...).Root()
		if other := roots[root]; other != "" {
			t.Errorf("%s has the root of %s", what, other)
		}
		roots[root] = what
	}
	if mustTree(t, leaves(9)...).Root() != mustTree(t, reversed(leaves(9))...).Root() {
		t.Error("the order in which leaves are given matters")
	}
}

func reversed(l []Leaf) []Leaf { slices.Reverse(l); return l }

func TestLeavesRefused(t *testing.T) {
	for what, ls := range map[string][]Leaf{
		"no name":   {{"", nil}},
		"a blank":   {{"a b", nil}},
		"a letter":  {{"ä", nil}},
		"long":      {{strings.Repeat("a", MaxName+1), nil}},
		"twice":     {{"a", nil}, {"b", nil}, {"a", []byte("1")}},
		"too many":  leaves(MaxLeaves + 1),
		"a control": {{"a\n", nil}},
	} {
		if tree, err := New(ls...); err == nil {
			t.Errorf("%s: root %v", what, tree.Root())
		}
	}
	if n := len(mustTree(t, leaves(MaxLeaves)...).mustProve(t, "leaf.0000").Path); n != maxPath {
		t.Errorf("the longest path has %d hashes, maxPath is %d", n, maxPath)
	}
}

func (t *Tree) mustProve(tb testing.TB, name string) *Proof {
	p, ok := t.Prove(name)
	if !ok {
		tb.Fatal(name)
	}
	return p
}

func testManifest(t testing.TB) (*Tree, []byte) {
	tree := mustTree(t, Leaf{"core.text", []byte("a <b> & \"c\" ü")}, Leaf{"core.bytes", []byte{1, 2, 0xff}}, Leaf{"core.none", nil}, Leaf{"core.empty", []byte{}},
		Leaf{"core.long", bytes.Repeat([]byte("x"), MaxText+1)})
	b, err := tree.Manifest().AppendJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	return tree, b
}

func TestManifest(t *testing.T) {
	tree, b := testManifest(t)
	m, err := ParseManifest(b)
	if err != nil || m.Root != tree.Root() || !reflect.DeepEqual(m, tree.Manifest()) {
		t.Fatalf("%s: %v", b, err)
	}
	for name, text := range map[string]string{"core.text": "a <b> & \"c\" ü", "core.bytes": "", "core.none": "", "core.empty": "", "core.long": ""} {
		if e, ok := m.Get(name); !ok || e.Text != text || (e.Hash == nil) != (name == "core.none") {
			t.Errorf("%s: %+v", name, e)
		}
	}
	if _, ok := m.Get("core"); ok {
		t.Error("a leaf that is not there")
	}
	for n := range b {
		if _, err := ParseManifest(b[:n]); err == nil {
			t.Errorf("%s is a manifest", b[:n])
		}
	}
	if _, err := ParseManifest(append(bytes.ReplaceAll(b, []byte(`,"`), []byte(",\n  \"")), '\n')); err != nil {
		t.Errorf("as a person would keep it: %v", err)
	}
	if empty, err := ParseManifest([]byte(`{"format":"eos config manifest v1","root":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","leaves":[]}`)); err != nil || len(empty.Leaves) != 0 {
		t.Error(err)
	}
}

func TestManifestRefuses(t *testing.T) {
	tree, b := testManifest(t)
	text := string(b)
	root := tree.Root().String()
	for what, bad := range map[string]string{
		"another root":     strings.Replace(text, root, strings.Repeat("0", 64), 1),
		"upper case":       strings.Replace(text, root, strings.ToUpper(root), 1),
		"another format":   strings.Replace(text, "v1", "v2", 1),
		"a wrong text":     strings.Replace(text, "a <b>", "a <c>", 1),
		"text of nothing":  strings.Replace(text, `"hash":null`, `"hash":null,"text":"x"`, 1),
		"a leaf less":      strings.Replace(text, `{"name":"core.none","hash":null},`, "", 1),
		"another name":     strings.Replace(text, "core.none", "core.nona", 1),
		"another order":    strings.Replace(text, "core.none", "core.zone", 1),
		"unknown field":    strings.Replace(text, `"format"`, `"x":1,"format"`, 1),
		"a field twice":    strings.Replace(text, `"root"`, `"format":"eos config manifest v1","root"`, 1),
		"another case":     strings.Replace(text, `"leaves"`, `"Leaves"`, 1),
		"no leaves":        `{"format":"eos config manifest v1","root":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","leaves":null}`,
		"without a hash":   strings.Replace(text, `"hash":null`, `"x":null`, 1),
		"something behind": text + "{}",
		"nothing":          "",
		"no object":        "null",
	} {
		if bad == text {
			t.Errorf("%s: nothing was changed", what)
		}
		if m, err := ParseManifest([]byte(bad)); err == nil {
			t.Errorf("%s: %+v", what, m)
		}
	}
	if _, err := ParseManifest(make([]byte, MaxManifest+1)); err == nil {
		t.Error("too long")
	}
}

// The limits agree: no tree is too big for its manifest.
func TestBiggestManifest(t *testing.T) {
	var ls []Leaf
	for i := range MaxLeaves {
		ls = append(ls, Leaf{fmt.Sprintf("%0*d", MaxName, i), bytes.Repeat([]byte(`"`), MaxText)})
	}
	b, err := mustTree(t, ls...).Manifest().AppendJSON(nil)
	if err != nil || len(b) > MaxManifest {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if _, err := ParseManifest(b); err != nil {
		t.Error(err)
	}
}

func FuzzParseManifest(f *testing.F) {
	_, b := testManifest(f)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseManifest(b)
		if err != nil {
			return
		}
		again, err := m.AppendJSON(nil)
		if err != nil {
			t.Fatal(err)
		}
		if o, err := ParseManifest(again); err != nil || !reflect.DeepEqual(o, m) {
			t.Fatalf("%q becomes %q: %v", b, again, err)
		}
	})
}

func FuzzParseProof(f *testing.F) {
	b, _ := mustTree(f, leaves(5)...).mustProve(f, "leaf.0003").AppendJSON(nil)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseProof(b)
		if err != nil {
			return
		}
		_ = p.Verify(p.Root)
		again, err := p.AppendJSON(nil)
		if err != nil {
			t.Fatal(err)
		}
		if o, err := ParseProof(again); err != nil || !reflect.DeepEqual(o, p) {
			t.Fatalf("%q becomes %q: %v", b, again, err)
		}
	})
}

func BenchmarkNew(b *testing.B) {
	ls := leaves(100)
	for b.Loop() {
		if _, err := New(ls...); err != nil {
			b.Fatal(err)
		}
	}
}
