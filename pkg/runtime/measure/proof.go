package measure

import (
	"fmt"
	"slices"
)

// ProofFormat is the value of Proof.Format.
const ProofFormat = "eos config proof v1"

// maxPath is the length of the longest path in a tree of MaxLeaves.
const maxPath = 12

// Proof says that a leaf is in the tree with that root: PATH of RFC 6962.
type Proof struct {
	Format string `json:"format"`
	Root   Hash   `json:"root"`
	Leaf   Entry  `json:"leaf"`
	Index  int    `json:"index"`  // of the leaf, from 0
	Leaves int    `json:"leaves"` // of the tree
	Path   []Hash `json:"path"`   // from the leaf to the root
}

// Prove returns the proof for the leaf of that name, and whether there is one.
func (t *Tree) Prove(name string) (*Proof, bool) {
	i := slices.IndexFunc(t.entries, func(e Entry) bool { return e.Name == name })
	if i < 0 {
		return nil, false
	}
	return &Proof{ProofFormat, t.root, t.entries[i], i, len(t.entries), path(i, t.hashes)}, true
}

func path(i int, hashes []Hash) []Hash {
	n := len(hashes)
	if n == 1 {
		return []Hash{}
	}
	k := split(n)
	if i < k {
		return append(path(i, hashes[:k]), rootOf(hashes[k:]))
	}
	return append(path(i-k, hashes[k:]), rootOf(hashes[:k]))
}

// AppendJSON appends p's one form in JSON, without a line end.
func (p *Proof) AppendJSON(b []byte) ([]byte, error) { return appendJSON(b, p) }

// ParseProof reads a proof. It proves nothing until Verify.
func ParseProof(b []byte) (*Proof, error) {
	p, err := parseJSON[Proof](b, 64<<10, ProofFormat)
	if err == nil {
		err = p.check()
	}
	if err != nil {
		return nil, fmt.Errorf("config proof: %w", err)
	}
	return p, nil
}

func (p *Proof) check() error {
	switch {
	case p.Format != ProofFormat:
		return fmt.Errorf("its format is %.80q, want %q", p.Format, ProofFormat)
	case p.Leaves < 1 || p.Leaves > MaxLeaves || p.Index < 0 || p.Index >= p.Leaves:
		return fmt.Errorf("leaf %d of %d", p.Index, p.Leaves)
	case p.Path == nil || len(p.Path) > maxPath:
		return fmt.Errorf("a path of %d hashes", len(p.Path))
	}
	return p.Leaf.check()
}

// Verify checks that the leaf is in the tree with this root, which comes from a
// certificate that has been verified; the one in p is no more than a claim.
func (p *Proof) Verify(root Hash) error {
	if err := p.check(); err != nil {
		return fmt.Errorf("config proof: %w", err)
	}
	got, rest, ok := climb(p.Leaf.hash(), p.Index, p.Leaves, p.Path)
	if !ok || len(rest) != 0 {
		return fmt.Errorf("config proof of %s: its path of %d hashes does not fit leaf %d of %d", p.Leaf.Name, len(p.Path), p.Index, p.Leaves)
	}
	if got != root {
		return fmt.Errorf("config proof of %s: it leads to the root %v, want %v", p.Leaf.Name, got, root)
	}
	return nil
}

// climb returns the root of n leaves of which number i has the hash leaf, and what is
// left of the path.
func climb(leaf Hash, i, n int, path []Hash) (root Hash, rest []Hash, ok bool) {
	if n == 1 {
		return leaf, path, true
	}
	k, right := split(n), false
	if i < k {
		n = k
	} else {
		i, n, right = i-k, n-k, true
	}
	if root, rest, ok = climb(leaf, i, n, path); !ok || len(rest) == 0 {
		return root, rest, false
	}
	if right {
		return node(rest[0], root), rest[1:], true
	}
	return node(root, rest[0]), rest[1:], true
}
