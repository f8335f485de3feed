package measure

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a tree. A manifest of MaxLeaves leaves stays below MaxManifest bytes.
const (
	MaxName   = 128  // bytes of a name
	MaxText   = 256  // bytes of data that a manifest shows as text
	MaxLeaves = 4096 // leaves of a tree
)

// tag begins every leaf's input, so that it is nothing else's.
const tag = "eos config leaf v1\x00"

// Hash is a SHA-256 hash. Its text is 64 lower-case hex digits.
type Hash [sha256.Size]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText returns the text of h.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText takes only what MarshalText returns.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != 2*len(h) || bytes.ContainsAny(text, "ABCDEF") {
		return fmt.Errorf("a hash is %d lower-case hex digits, not %.80q", 2*len(h), text)
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// Leaf is a fact of the configuration. What it says is public: its name and the
// hash of its data are in the manifest, and short text is itself.
type Leaf struct {
	Name string // "module.fact": 1 to MaxName bytes of printable ASCII without blanks
	Data []byte // nil: the fact is absent
}

// Entry is a leaf as a manifest shows it.
type Entry struct {
	Name string `json:"name"`
	Hash *Hash  `json:"hash"`           // SHA-256 of the data; nil: absent
	Text string `json:"text,omitempty"` // the data, if it is short text
}

func (l Leaf) entry() (Entry, error) {
	e := Entry{Name: l.Name}
	if l.Data != nil {
		h := Hash(sha256.Sum256(l.Data))
		e.Hash = &h
		if isText(string(l.Data)) {
			e.Text = string(l.Data)
		}
	}
	return e, e.check()
}

// isText reports whether data may stand in a manifest as it is.
func isText(s string) bool {
	return len(s) <= MaxText && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

func (e *Entry) check() error {
	if e.Name == "" || len(e.Name) > MaxName || strings.ContainsFunc(e.Name, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%.200q is not the name of a leaf: 1 to %d printable ASCII characters without blanks", e.Name, MaxName)
	}
	if e.Text != "" && (e.Hash == nil || !isText(e.Text) || *e.Hash != sha256.Sum256([]byte(e.Text))) {
		return fmt.Errorf("leaf %s: its text is not what its hash is of", e.Name)
	}
	return nil
}

// hash is the leaf's hash in the tree.
func (e *Entry) hash() Hash {
	b := append([]byte{0}, tag...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(e.Name)))
	b = append(b, e.Name...)
	if e.Hash == nil {
		b = append(b, 0)
	} else {
		b = append(append(b, 1), e.Hash[:]...)
	}
	return sha256.Sum256(b)
}

func node(left, right Hash) Hash {
	return sha256.Sum256(slices.Concat([]byte{1}, left[:], right[:]))
}

// Tree is the configuration at one time. It does not change.
type Tree struct {
	entries []Entry // sorted by name
	hashes  []Hash
	root    Hash
}

// New makes the tree of these leaves, in whatever order they are given.
func New(leaves ...Leaf) (*Tree, error) {
	entries := make([]Entry, len(leaves))
	for i, l := range leaves {
		var err error
		if entries[i], err = l.entry(); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return newTree(entries)
}

// newTree takes entries that have been checked.
func newTree(entries []Entry) (*Tree, error) {
	if len(entries) > MaxLeaves {
		return nil, fmt.Errorf("%d leaves: at most %d", len(entries), MaxLeaves)
	}
	t := &Tree{entries: entries, hashes: make([]Hash, len(entries))}
	for i := range entries {
		if i > 0 && entries[i-1].Name >= entries[i].Name {
			if entries[i-1].Name == entries[i].Name {
				return nil, fmt.Errorf("leaf %s is there twice", entries[i].Name)
			}
			return nil, fmt.Errorf("leaf %s is not in the order of names", entries[i].Name)
		}
		t.hashes[i] = entries[i].hash()
	}
	t.root = rootOf(t.hashes)
	return t, nil
}

// rootOf is MTH of RFC 6962.
func rootOf(hashes []Hash) Hash {
	switch n := len(hashes); n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return hashes[0]
	default:
		k := split(n)
		return node(rootOf(hashes[:k]), rootOf(hashes[k:]))
	}
}

// split is the largest power of two below n, which is 2 or more.
func split(n int) int { return 1 << (bits.Len(uint(n-1)) - 1) }

// Root returns the root.
func (t *Tree) Root() Hash { return t.root }

// Len returns the number of leaves.
func (t *Tree) Len() int { return len(t.entries) }
