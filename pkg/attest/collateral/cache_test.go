package collateral

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/attest/attesttest"
)

func TestCache(t *testing.T) {
	p := attesttest.New(t)
	s := serve(t, p.Mint().Collateral)
	cache := &Cache{filepath.Join(t.TempDir(), "a", "b")}
	path := filepath.Join(cache.Dir, "sgx-B0C06F000000-platform.json")
	c := client(s)
	c.Cache = cache
	first, err := c.Get(t.Context(), theRequest)
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]fs.FileMode{path: 0o600, cache.Dir: 0o700 | fs.ModeDir} {
		if st, err := os.Stat(p); err != nil || st.Mode() != want {
			t.Errorf("%s: %v, %v", p, st.Mode(), err)
		}
	}
	if names, _ := os.ReadDir(cache.Dir); len(names) != 1 {
		t.Errorf("left over: %v", names)
	}

	// Another process finds it and asks nobody.
	offline := client()
	offline.Cache = cache
	var from string
	offline.Used = func(_ Request, f string) { from = f }
	got, err := offline.Get(t.Context(), theRequest)
	if err != nil || !bytes.Equal(got.TCBInfo.Body, first.TCBInfo.Body) || from != path {
		t.Errorf("%v, from %q", err, from)
	}

	// What has become stale is not used.
	old := client()
	old.Cache = cache
	old.Now = func() time.Time { return attesttest.Now.Add(7 * 24 * time.Hour) }
	if _, err := old.Get(t.Context(), theRequest); err == nil {
		t.Error("stale collateral is used")
	}
	// Nor is it in memory.
	at := attesttest.Now
	offline.Now = func() time.Time { return at }
	at = at.Add(7 * 24 * time.Hour)
	if _, err := offline.Get(t.Context(), theRequest); err == nil {
		t.Error("collateral that has become stale in memory is used")
	}

	// A damaged file is overwritten, as is that of another platform.
	for _, content := range []string{"", "{", "no JSON"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		again := client(s)
		again.Cache = cache
		if _, err := again.Get(t.Context(), theRequest); err != nil {
			t.Error(err)
		}
		if _, err := cache.Get(theRequest); err != nil {
			t.Errorf("after %q: %v", content, err)
		}
	}

	// A cache that cannot be written keeps nobody from an answer.
	broken := client(s)
	broken.Cache = &Cache{filepath.Join(path, "x")}
	var warning error
	broken.Warn = func(err error) { warning = err }
	if _, err := broken.Get(t.Context(), theRequest); err != nil || warning == nil {
		t.Errorf("%v, warning %v", err, warning)
	}
}

// TestRefresh: from a day on there is a request a minute for newer documents, and
// the old ones serve until there are some.
func TestRefresh(t *testing.T) {
	p := attesttest.New(t)
	s := serve(t, p.Mint().Collateral)
	c := client(s)
	now := attesttest.Now
	c.Now = func() time.Time { return now }
	var warnings int
	c.Warn = func(error) { warnings++ }
	get := func() *attest.Collateral {
		t.Helper()
		got, err := c.Get(t.Context(), theRequest)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := get()
	s.change = func(a *answer) { a.status = 404 }
	n := len(s.asked())
	now = now.Add(time.Second) // the documents are a day and a second old
	if get() != first || len(s.asked()) != n {
		t.Error("asked again within a minute")
	}
	now = now.Add(retryAfter)
	if get() != first || len(s.asked()) != n+1 || warnings != 1 {
		t.Errorf("not asked again: %d requests, %d warnings", len(s.asked())-n, warnings)
	}
	s.change = nil
	p.TCB.IssueDate, p.QE.IssueDate = now, now
	s.c = p.Mint().Collateral
	if get() != first {
		t.Error("asked again within a minute")
	}
	now = now.Add(retryAfter)
	if got := get(); !bytes.Equal(got.TCBInfo.Body, s.c.TCBInfo.Body) {
		t.Error("the newer is not used")
	}
	n = len(s.asked())
	now = now.Add(DefaultRefresh - retryAfter)
	if get(); len(s.asked()) != n {
		t.Error("asked too early")
	}
}

func TestCacheTrim(t *testing.T) {
	cache := &Cache{t.TempDir()}
	got := attesttest.New(t).Mint().Collateral
	b := filepath.Join(cache.Dir, "not ours")
	if err := os.WriteFile(b, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	begin := time.Now().Add(-time.Hour)
	for i := range maxFiles + 2 {
		r := theRequest
		r.FMSPC[5], r.FMSPC[4] = byte(i), byte(i>>8)
		if err := os.WriteFile(cache.path(r), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		at := begin.Add(time.Duration(i) * time.Second)
		if err := os.Chtimes(cache.path(r), at, at); err != nil {
			t.Fatal(err)
		}
	}
	newest := Request{TEE: attest.TDX, FMSPC: theRequest.FMSPC, CA: Platform}
	if err := cache.Put(newest, got); err != nil {
		t.Fatal(err)
	}
	if _, err := cache.Get(newest); err != nil {
		t.Error(err)
	}
	names, err := os.ReadDir(cache.Dir)
	if err != nil || len(names) != maxFiles+1 {
		t.Errorf("%d files, %v", len(names), err)
	}
	if _, err := cache.Get(theRequest); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the oldest: %v", err)
	}
	if _, err := os.Stat(b); err != nil {
		t.Error(err)
	}
}

func TestBundleFile(t *testing.T) {
	e := attesttest.New(t).Mint()
	dir := t.TempDir()
	path := filepath.Join(dir, "bundle.json")
	for range 2 {
		if err := WriteBundle(path, e.Collateral); err != nil {
			t.Fatal(err)
		}
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode() != 0o644 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("left over: %v", names)
	}
	got, err := Bundle(path)(t.Context(), nil)
	if err != nil || !bytes.Equal(got.TCBInfo.Body, e.Collateral.TCBInfo.Body) || !bytes.Equal(got.RootCRL, e.Collateral.RootCRL) {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadBundle(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
	if _, err := ReadBundle(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := WriteBundle(filepath.Join(dir, "none", "x"), e.Collateral); err == nil {
		t.Error("written nowhere")
	}
}
