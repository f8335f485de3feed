package manifest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// MaxSize is the largest number of bytes that a manifest can have, MaxModule that of a
// module, as it is stored and as it runs.
const (
	MaxSize   = 1 << 20
	MaxModule = 256 << 20
)

// AppendBinary appends the canonical bytes to b: JSON without blanks, members in
// the order of the types here, no list absent. m must be valid.
func (m *Manifest) AppendBinary(b []byte) ([]byte, error) {
	if err := m.Check(); err != nil {
		return nil, err
	}
	text, err := m.encode()
	if err != nil {
		return nil, err
	}
	if len(text) > MaxSize {
		return nil, fmt.Errorf("manifest: %d bytes: at most %d", len(text), MaxSize)
	}
	return append(b, text...), nil
}

func (m *Manifest) encode() ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(m.filled()); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte{'\n'}), nil
}

// filled is m with empty lists for absent ones.
func (m *Manifest) filled() *Manifest {
	f := *m
	f.Apps, f.Roles = slices.Clone(list(m.Apps)), slices.Clone(list(m.Roles))
	for i := range f.Apps {
		a := &f.Apps[i]
		a.Hostnames, a.Interfaces, a.Args, a.Env, a.Egress = list(a.Hostnames), list(a.Interfaces), list(a.Args), list(a.Env), list(a.Egress)
		p := &a.Permissions
		p.Roles, p.Functions = list(p.Roles), slices.Clone(list(p.Functions))
		for j := range p.Functions {
			p.Functions[j].Roles = list(p.Functions[j].Roles)
		}
	}
	for i := range f.Roles {
		f.Roles[i].Tokens = list(f.Roles[i].Tokens)
	}
	return &f
}

func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// Parse reads canonical bytes. What it returns is valid.
func Parse(text []byte) (*Manifest, error) {
	if len(text) > MaxSize {
		return nil, fmt.Errorf("manifest: %d bytes: at most %d", len(text), MaxSize)
	}
	m := new(Manifest)
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("manifest: something follows it")
	}
	if err := m.Check(); err != nil {
		return nil, err
	}
	again, err := m.encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, text) {
		return nil, errors.New("manifest: not in its canonical form")
	}
	return m, nil
}

// Normalize sorts all lists but arguments, so that the order in which people write
// them does not matter.
func (m *Manifest) Normalize() {
	slices.SortStableFunc(m.Apps, func(a, b App) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortStableFunc(m.Roles, func(a, b Role) int { return cmp.Compare(a.Name, b.Name) })
	for i := range m.Apps {
		a := &m.Apps[i]
		slices.Sort(a.Hostnames)
		slices.Sort(a.Interfaces)
		slices.SortStableFunc(a.Env, func(a, b string) int { return cmp.Compare(envKey(a), envKey(b)) })
		slices.Sort(a.Egress)
		slices.Sort(a.Permissions.Roles)
		slices.SortStableFunc(a.Permissions.Functions, func(a, b FunctionPolicy) int { return cmp.Compare(a.Name, b.Name) })
		for j := range a.Permissions.Functions {
			slices.Sort(a.Permissions.Functions[j].Roles)
		}
	}
	for i := range m.Roles {
		slices.SortFunc(m.Roles[i].Tokens, compareHashes)
	}
}

func compareHashes(a, b Hash) int { return bytes.Compare(a[:], b[:]) }
