package measure

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// ManifestFormat is the value of Manifest.Format.
const ManifestFormat = "eos config manifest v1"

// MaxManifest bounds the bytes of a manifest.
const MaxManifest = 4 << 20

// Manifest is all leaves of a tree and its root.
type Manifest struct {
	Format string  `json:"format"`
	Root   Hash    `json:"root"`
	Leaves []Entry `json:"leaves"` // sorted by name
}

// Manifest returns the tree as it is told to others.
func (t *Tree) Manifest() *Manifest {
	return &Manifest{ManifestFormat, t.root, slices.Clone(t.entries)}
}

// AppendJSON appends m's one form in JSON, without a line end.
func (m *Manifest) AppendJSON(b []byte) ([]byte, error) { return appendJSON(b, m) }

// ParseManifest reads a manifest and recomputes its root: the result is consistent.
// Whether its root is that of a certificate is the caller's to compare.
func ParseManifest(b []byte) (*Manifest, error) {
	m, err := parseJSON[Manifest](b, MaxManifest, ManifestFormat)
	if err != nil {
		return nil, fmt.Errorf("config manifest: %w", err)
	}
	t, err := m.tree()
	if err != nil {
		return nil, fmt.Errorf("config manifest: %w", err)
	}
	if t.root != m.Root {
		return nil, fmt.Errorf("config manifest: it says that its root is %v, but its leaves have the root %v", m.Root, t.root)
	}
	return m, nil
}

// Get returns the leaf of that name.
func (m *Manifest) Get(name string) (Entry, bool) {
	i := slices.IndexFunc(m.Leaves, func(e Entry) bool { return e.Name == name })
	if i < 0 {
		return Entry{}, false
	}
	return m.Leaves[i], true
}

func (m *Manifest) tree() (*Tree, error) {
	if m.Format != ManifestFormat {
		return nil, fmt.Errorf("its format is %.80q, want %q", m.Format, ManifestFormat)
	}
	if m.Leaves == nil {
		return nil, errors.New("it has no list of leaves")
	}
	for i := range m.Leaves {
		if err := m.Leaves[i].check(); err != nil {
			return nil, err
		}
	}
	return newTree(m.Leaves)
}

func appendJSON(b []byte, v any) ([]byte, error) {
	w := bytes.NewBuffer(b)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(w.Bytes(), []byte("\n")), nil
}

// parseJSON takes the form of appendJSON only, but for blanks between tokens: no
// unknown, missing, repeated or reordered fields.
func parseJSON[T any](b []byte, most int, format string) (*T, error) {
	if len(b) > most {
		return nil, fmt.Errorf("%d bytes: at most %d", len(b), most)
	}
	v := new(T)
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows it")
	}
	again, err := appendJSON(nil, v)
	if err != nil {
		return nil, err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, b); err != nil || !bytes.Equal(compact.Bytes(), again) {
		return nil, fmt.Errorf("not the one form of %q: its fields are missing, repeated, in another order or written in another way", format)
	}
	return v, nil
}
