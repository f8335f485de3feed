package seal

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/channel/kvwire"
	"github.com/enclaveos/eos/pkg/enclave"
	"github.com/enclaveos/eos/pkg/runtime/kvstore"
	"github.com/enclaveos/eos/pkg/sgx"
)

// machine is a Sealer of one image on one machine: the layout of a real blob around
// text that is not encrypted, with errors in the place of keys.
type machine struct {
	image  sgx.Measurement
	signer sgx.Measurement
	id     byte // of the machine
}

func (m machine) Seal(policy sgx.KeyPolicy, plaintext, additional []byte) ([]byte, error) {
	b := enclave.Blob{Policy: policy, Flags: sgx.AttrInit, Identity: m.image, KeyID: [32]byte{m.id}, Ciphertext: append(bytes.Clone(additional), plaintext...)}
	if policy == sgx.PolicyMRSigner {
		b.Identity = m.signer
	}
	return b.AppendBinary(nil)
}

func (m machine) Unseal(blob, additional []byte) ([]byte, error) {
	b, err := enclave.ParseBlob(blob)
	switch {
	case err != nil:
		return nil, err
	case b.Policy == sgx.PolicyMREnclave && b.Identity != m.image:
		return nil, &enclave.OtherEnclaveError{What: "MRENCLAVE", Sealed: b.Identity.String(), Here: m.image.String()}
	case b.KeyID[0] != m.id || !bytes.HasPrefix(b.Ciphertext, additional):
		return nil, enclave.ErrNotAuthentic
	}
	return bytes.Clone(b.Ciphertext[len(additional):]), nil
}

var here = machine{image: sgx.Measurement{1}, signer: sgx.Measurement{2}, id: 3}

func open(t *testing.T, b kvstore.Backend, m Sealer) *State {
	t.Helper()
	s, err := OpenWith(t.Context(), b, m, kvstore.Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

func update(t *testing.T, s *State, name, content string) {
	t.Helper()
	if err := s.Update(t.Context(), func(sections map[string][]byte) error {
		sections[name] = []byte(content)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestState(t *testing.T) {
	b := kvstore.NewMemory()
	s := open(t, b, here)
	if !s.First || s.Generation() != 1 || len(s.Sections()) != 0 {
		t.Errorf("first %v, generation %d, %d sections", s.First, s.Generation(), len(s.Sections()))
	}
	update(t, s, "ca-cert", "certificate")
	update(t, s, "apps", "")
	key := s.Key("purpose")
	if key == s.Key("other purpose") || key == ([KeySize]byte{}) {
		t.Error("keys are not told apart")
	}
	if err := s.Store.Table("a").Put(t.Context(), []byte("k"), []byte("v")); err != nil {
		t.Fatal(err)
	}
	refusal := errors.New("no")
	empty := kvstore.NewMemory()
	if _, err := OpenWith(t.Context(), empty, here, kvstore.Options{}, func(map[string][]byte) error { return refusal }); err != refusal {
		t.Error(err)
	}
	if _, err := empty.GetFile(t.Context(), File); !errors.Is(err, kvstore.ErrAbsent) {
		t.Errorf("a state is made without its sections: %v", err)
	}
	if err := s.Update(t.Context(), func(sections map[string][]byte) error {
		sections["half"] = nil
		return refusal
	}); err != refusal {
		t.Error(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	raw, err := b.GetFile(t.Context(), File)
	if err != nil {
		t.Fatal(err)
	}
	if blob, err := enclave.ParseBlob(raw); err != nil || blob.Policy != sgx.PolicyMREnclave {
		t.Errorf("the header says policy %v, %v", blob, err)
	}

	s = open(t, b, here)
	want := map[string][]byte{"ca-cert": []byte("certificate"), "apps": {}}
	if s.First || s.Generation() != 3 || !maps.EqualFunc(s.Sections(), want, bytes.Equal) || s.Key("purpose") != key {
		t.Errorf("first %v, generation %d, sections %q", s.First, s.Generation(), s.Sections())
	}
	if v, err := s.Store.Table("a").Get(t.Context(), []byte("k")); err != nil || string(v) != "v" {
		t.Errorf("%q, %v", v, err)
	}
	if other := open(t, kvstore.NewMemory(), here); other.Key("purpose") == key {
		t.Error("two states have the same keys")
	}
}

// TestRefused: what is not the state that was left is refused, and told; nothing begins
// anew.
func TestRefused(t *testing.T) {
	original := kvstore.NewMemory()
	s := open(t, original, here)
	old := original.Clone()
	update(t, s, "a", "1")
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	file, err := original.GetFile(t.Context(), File)
	if err != nil {
		t.Fatal(err)
	}
	oldFile, err := old.GetFile(t.Context(), File)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := here.Seal(sgx.PolicyMRSigner, []byte("forged"), purpose)
	if err != nil {
		t.Fatal(err)
	}
	future, err := here.Seal(sgx.PolicyMREnclave, []byte("\x02\x00\x00\x00"), purpose)
	if err != nil {
		t.Fatal(err)
	}
	garbled, err := here.Seal(sgx.PolicyMREnclave, []byte("\x01\x00\x00\x00"), purpose)
	if err != nil {
		t.Fatal(err)
	}
	otherPurpose, err := here.Seal(sgx.PolicyMREnclave, []byte("\x01\x00\x00\x00"), []byte("a secret of a module"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		machine machine
		file    []byte // "" as it is, nil: missing
		want    string
	}{
		"another image":   {machine{image: sgx.Measurement{9}, signer: here.signer, id: 3}, file, "MRENCLAVE"},
		"another machine": {machine{image: here.image, signer: here.signer, id: 4}, file, "on the machine where it was made"},
		"empty":           {here, []byte{}, "damaged"},
		"cut":             {here, file[:len(file)-1], "damaged"},
		"missing":         {here, nil, "missing"},
		"older":           {here, oldFile, "there was number 2"},
		"of the signer":   {here, signed, "seal policy is 0x2, not MRENCLAVE"},
		"newer version":   {here, future, "version 2, this runtime knows 1 to 1"},
		"garbled":         {here, garbled, "not of this format"},
		"other purpose":   {here, otherPurpose, "not authentic"},
	} {
		b := original.Clone()
		if c.file != nil {
			if err := b.PutFile(t.Context(), File, c.file); err != nil {
				t.Fatal(err)
			}
		} else {
			b = without(t, b, File)
		}
		before := contents(t, b)
		s, err := OpenWith(t.Context(), b, c.machine, kvstore.Options{}, nil)
		var open *OpenError
		if s != nil || !errors.As(err, &open) || open.Hint == "" || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		// An older configuration is told by the open store, which tidies up.
		if name != "older" && !slices.Equal(before, contents(t, b)) {
			t.Errorf("%s: the refusal has changed what is with the host", name)
		}
	}
	// A sealed root is left, and says that there was more.
	b := without(t, original.Clone(), File)
	if err := b.DeleteRange(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}
	var open *OpenError
	if _, err := OpenWith(t.Context(), b, here, kvstore.Options{}, nil); !errors.As(err, &open) || !strings.Contains(err.Error(), "missing") {
		t.Errorf("the root alone: %v", err)
	}
}

func contents(t *testing.T, b *kvstore.Memory) []string {
	t.Helper()
	pairs, err := b.Scan(t.Context(), nil, nil, kvwire.MaxItems)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range pairs {
		all = append(all, string(p.Key)+string(p.Value))
	}
	for _, name := range []string{File, "root"} {
		if f, err := b.GetFile(t.Context(), name); err == nil {
			all = append(all, name+string(f))
		}
	}
	return all
}

// without is a copy of b without a file.
func without(t *testing.T, b *kvstore.Memory, name string) *kvstore.Memory {
	t.Helper()
	m := kvstore.NewMemory()
	pairs, err := b.Scan(t.Context(), nil, nil, kvwire.MaxItems)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pairs {
		if err := m.Apply(t.Context(), []kvwire.Op{{Key: p.Key, Value: p.Value}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []string{File, "root"} {
		if f, err := b.GetFile(t.Context(), n); err == nil && n != name {
			if err := m.PutFile(t.Context(), n, f); err != nil {
				t.Fatal(err)
			}
		}
	}
	return m
}

// dying is a host that fails at its nth write, which happens or not.
type dying struct {
	kvstore.Backend
	left int
	does bool
}

var errDead = errors.New("dead")

func (d *dying) write(f func() error) error {
	if d.left--; d.left > 0 {
		return f()
	}
	if d.left == 0 && d.does {
		_ = f()
	}
	return errDead
}

func (d *dying) Apply(ctx context.Context, ops []kvwire.Op) error {
	return d.write(func() error { return d.Backend.Apply(ctx, ops) })
}

func (d *dying) Commit(ctx context.Context, number uint64, ops []kvwire.Op) error {
	return d.write(func() error { return d.Backend.Commit(ctx, number, ops) })
}

func (d *dying) DeleteRange(ctx context.Context, start, end []byte) error {
	return d.write(func() error { return d.Backend.DeleteRange(ctx, start, end) })
}

func (d *dying) PutFile(ctx context.Context, name string, content []byte) error {
	return d.write(func() error { return d.Backend.PutFile(ctx, name, content) })
}

// TestCrashes: a crash at any write of the first start or of an update leaves a state
// that opens, with all that was acknowledged.
func TestCrashes(t *testing.T) {
	for _, does := range []bool{false, true} {
		ended := false
		for n := 1; !ended; n++ {
			b := kvstore.NewMemory()
			acknowledged := false
			first := func(sections map[string][]byte) error {
				sections["operator"] = []byte("hash")
				return nil
			}
			s, err := OpenWith(t.Context(), &dying{b, n, does}, here, kvstore.Options{}, first)
			if err == nil {
				err = s.Update(t.Context(), func(sections map[string][]byte) error {
					sections["a"] = []byte("1")
					return nil
				})
				acknowledged = err == nil
				closing := s.Close(t.Context())
				ended = acknowledged && closing == nil
			}
			s = open(t, b, here)
			// Either it is a first start again, or what the first one had to say is there.
			if _, ok := s.Sections()["operator"]; ok == s.First {
				t.Errorf("write %d, done %v: first %v, with an operator %v", n, does, s.First, ok)
			}
			if _, ok := s.Sections()["a"]; acknowledged && !ok {
				t.Errorf("write %d, done %v: an update is lost", n, does)
			}
			update(t, s, "a", "2")
			if n > 20 {
				t.Fatal("it never ends")
			}
		}
	}
}

func TestMigration(t *testing.T) {
	migrations[0] = func(b []byte) ([]byte, error) {
		if len(b) != KeySize {
			return nil, errText
		}
		c := config{generation: 7, master: [KeySize]byte(b), sections: map[string][]byte{"from": []byte("0")}}
		text, err := c.append(nil)
		return text[4:], err
	}
	defer delete(migrations, 0)
	c, err := parse(append(make([]byte, 4), bytes.Repeat([]byte{5}, KeySize)...))
	if err != nil || c.generation != 7 || c.master[31] != 5 || string(c.sections["from"]) != "0" {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := parse(make([]byte, 5)); !errors.Is(err, errText) {
		t.Error(err)
	}
}

func TestConfigCodec(t *testing.T) {
	c := &config{generation: 5, master: [KeySize]byte{1}, sections: map[string][]byte{"a": {}, "b-2_x.y": []byte("text")}}
	b, err := c.append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range b {
		if _, err := parse(b[:n]); err == nil {
			t.Errorf("%d bytes of %d parse", n, len(b))
		}
	}
	for name, sections := range map[string]map[string][]byte{
		"no name": {"": nil}, "upper case": {"A": nil}, "long": {strings.Repeat("a", maxName+1): nil}, "large": {"a": make([]byte, MaxConfig)},
	} {
		if _, err := (&config{sections: sections}).append(nil); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	c := &config{generation: 5, master: [KeySize]byte{1}, sections: map[string][]byte{"a": {}, "b": []byte("text")}}
	b, err := c.append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parse(b)
		if err != nil {
			return
		}
		if again, err := c.append(nil); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("% x comes back as % x, %v", b, again, err)
		}
	})
}

// TestOutside: without an enclave there is no state.
func TestOutside(t *testing.T) {
	if s, err := Open(t.Context(), kvstore.NewMemory(), nil); s != nil || !errors.Is(err, enclave.ErrNotEnclave) {
		t.Errorf("%v, %v", s, err)
	}
}
