package kvstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
)

// quiet is a store that writes its sealed root only when it is closed.
var quiet = Options{RootInterval: time.Hour}

// history is a store at several times: after each step it was closed, and all that the
// host has was copied.
func history(t *testing.T, b *Memory, name string, steps int) []*Memory {
	t.Helper()
	var all []*Memory
	for i := range steps {
		s := open(t, b, quiet)
		put(t, s.Table("a"), "k", fmt.Sprintf("%s %d", name, i))
		put(t, s.Table("a"), fmt.Sprintf("only %s %d", name, i), "v")
		closeStore(t, s)
		all = append(all, b.Clone())
	}
	return all
}

// mix is the records of one host and the files of another.
func mix(kv, files *Memory) *Memory {
	return &Memory{kv: maps.Clone(kv.kv), files: maps.Clone(files.files)}
}

func (m *Memory) drop(kind byte) *Memory {
	c := m.Clone()
	maps.DeleteFunc(c.kv, func(k string, _ []byte) bool { return k[0] == kind })
	return c
}

// TestRollbackRefused: at Open a store that is not the one of the sealed root is
// refused, with the reason.
func TestRollbackRefused(t *testing.T) {
	h := history(t, NewMemory(), "one", 4)
	branch := history(t, h[1].Clone(), "two", 4) // longer than the first
	withCheckpoint := h[3].Clone()
	s := open(t, withCheckpoint, quiet)
	closeStore(t, s)
	checkpointNow(t, s)
	foreign := history(t, NewMemory(), "three", 1)[0]
	gap := h[3].Clone()
	delete(gap.kv, string(numbered(kindLog, 3)))
	changed := h[3].Clone()
	record := bytes.Clone(changed.kv[string(numbered(kindLog, 3))])
	record[40] ^= 1
	changed.kv[string(numbered(kindLog, 3))] = record
	moved := h[3].Clone()
	moved.kv[string(numbered(kindLog, 3))] = moved.kv[string(numbered(kindLog, 4))]
	noRoot := h[3].Clone()
	clear(noRoot.files)
	badRoot := h[3].Clone()
	root := bytes.Clone(badRoot.files[RootFile])
	root[len(root)-1] ^= 1
	badRoot.files[RootFile] = root
	higherRoot := h[3].Clone()
	root = bytes.Clone(higherRoot.files[RootFile])
	root[24] ^= 1
	higherRoot.files[RootFile] = root
	shortRoot := h[3].Clone()
	shortRoot.files[RootFile] = root[:len(root)-1]
	for name, c := range map[string]struct {
		b    *Memory
		want string
	}{
		"older records":                   {mix(h[2], h[3]), "its newest commit is 6, but 8 was left"},
		"much older records":              {mix(h[0], h[3]), "its newest commit is 2, but 8 was left"},
		"no records":                      {mix(NewMemory(), h[3]), "its newest commit is 0, but 8 was left"},
		"records behind a checkpoint":     {mix(h[3].drop(kindLog), withCheckpoint), "its newest commit is 0"},
		"no checkpoint":                   {withCheckpoint.drop(kindCheckpoint), "its newest commit is 0"},
		"checkpoint, and an older root":   {mix(withCheckpoint, h[2]), "its newest commit is 6, but 8 was left"},
		"branch, root of the first":       {mix(branch[3], h[3]), "another history"},
		"short branch, root of the first": {mix(branch[0], h[3]), "its newest commit is 6, but 8 was left"},
		"first, root of the branch":       {mix(h[3], branch[0]), "another history"},
		"gap":                             {gap, "commit 3 is missing"},
		"changed log":                     {changed, "commit 3 of the log: it does not open"},
		"moved log":                       {moved, "commit 3 of the log: it does not open"},
		"no root":                         {noRoot, "its sealed root is missing"},
		"changed root":                    {badRoot, "its sealed root does not open"},
		"root of a higher commit":         {higherRoot, "its sealed root does not open"},
		"short root":                      {shortRoot, "103 bytes, it has 104"},
	} {
		before := c.b.Clone()
		s, err := Open(t.Context(), c.b, testMaster, quiet)
		if s != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
		if s != nil {
			s.Close(context.Background())
		}
		if !maps.EqualFunc(before.kv, c.b.kv, bytes.Equal) || !maps.EqualFunc(before.files, c.b.files, bytes.Equal) {
			t.Errorf("%s: the refusal has changed what is with the host", name)
		}
	}
	// Another master key is another store.
	other := testMaster
	other[0] ^= 1
	for name, b := range map[string]*Memory{"other key": h[3].Clone(), "root of another store": mix(h[3], foreign)} {
		s, err := Open(t.Context(), b, other, quiet)
		var r *RollbackError
		if s != nil || !errors.As(err, &r) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAccepted: what a crash leaves, and what nobody can tell from it, opens.
func TestAccepted(t *testing.T) {
	h := history(t, NewMemory(), "one", 4)
	leftover := h[3].Clone()
	leftover.kv[string(numbered(kindNode, 77))] = []byte("of a checkpoint that never was")
	leftover.kv["vsomething"] = []byte("that no key has")
	for name, c := range map[string]struct {
		b    *Memory
		want string
	}{
		"as it was":               {h[3].Clone(), "one 3"},
		"root follows by commits": {mix(h[3], h[1]), "one 3"},
		"leftovers":               {leftover, "one 3"},
		// Everything brought back, while nobody looks: it takes a counter that no
		// host can turn back to find that out (docs/state.md).
		"all of it older": {h[1].Clone(), "one 1"},
	} {
		s, err := Open(t.Context(), c.b, testMaster, quiet)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		wantValue(t, s.Table("a"), "k", c.want)
		closeStore(t, s)
	}
	if len(leftover.kv) == 0 || leftover.kv[string(numbered(kindNode, 77))] != nil {
		t.Error("a node that no checkpoint has is still there")
	}
}

// TestBranchWhileRunning: records of a branch of the same store, with the same numbers,
// are not taken for ours.
func TestBranchWhileRunning(t *testing.T) {
	b := NewMemory()
	history(t, b, "one", 1)
	other := b.Clone()
	s := open(t, b, quiet)
	put(t, s.Table("a"), "k", "ours")
	branch := open(t, other, quiet)
	put(t, branch.Table("a"), "k", "theirs")
	name := string(append([]byte{kindValue}, name(s.Table("a"), "k")...))
	if !bytes.Equal(b.kv[name][:9], other.kv[name][:9]) {
		t.Fatal("the two do not have the same number: the test shows nothing")
	}
	b.mu.Lock()
	b.kv[name] = other.kv[name]
	b.mu.Unlock()
	var tampered *IntegrityError
	if v, err := s.Table("a").Get(t.Context(), []byte("k")); !errors.As(err, &tampered) {
		t.Errorf("%q, %v", v, err)
	}
}

func name(t *Table, key string) []byte {
	n := t.keys.name([]byte(key))
	return n[:]
}
