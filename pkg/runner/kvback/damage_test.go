package kvback_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/runner/kvback"
	"github.com/enclaveos/eos/pkg/runtime/kvstore"
)

// damages are what becomes of a file.
var damages = map[string]func(path string) error{
	"missing": os.Remove,
	"cut": func(path string) error {
		i, err := os.Stat(path)
		if err != nil {
			return err
		}
		return os.Truncate(path, i.Size()/2)
	},
	"changed": func(path string) error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i := len(b) / 3; i < len(b); i += max(1, len(b)/5) {
			b[i] ^= 0x55
		}
		return os.WriteFile(path, b, 0o600)
	},
}

// damagedStore makes a store with keys in tables and in Pebble's log, closed in order.
func damagedStore(t *testing.T, dir string) map[string]string {
	t.Helper()
	host, err := kvback.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for round := range 2 { // closing and opening makes tables of the log
		s, err := openOn(t.Context(), host, kvstore.Options{CacheSize: 8000})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 300 {
			k, v := fmt.Sprintf("key %d", i), fmt.Sprintf("value %d of round %d", i, round)
			if i%(round+1) != 0 {
				continue
			}
			if err := s.Table("t").Put(t.Context(), []byte(k), []byte(v)); err != nil {
				t.Fatal(err)
			}
			want[k] = v
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := host.Close(); err != nil {
			t.Fatal(err)
		}
		if round == 1 {
			break
		}
		if host, err = kvback.Open(dir); err != nil {
			t.Fatal(err)
		}
	}
	return want
}

// content reads everything, or says why it cannot.
func content(ctx context.Context, dir string) (got map[string]string, err error) {
	host, err := kvback.Open(dir)
	if err != nil {
		return nil, err
	}
	defer host.Close()
	s, err := openOn(ctx, host, kvstore.Options{ValueCache: -1})
	if err != nil {
		return nil, err
	}
	defer s.Close(ctx)
	got = map[string]string{}
	err = s.Table("t").Scan(ctx, nil, func(k, v []byte) error {
		got[string(k)] = string(v)
		return nil
	})
	return got, err
}

// TestDamage: whichever file is damaged, and how, either all is there or an error says
// that it is not; looking at it is never the end of the program.
func TestDamage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	want := damagedStore(t, dir)
	names, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil || len(names) < 5 {
		t.Fatal(names, err)
	}
	refused := 0
	for _, path := range names {
		name := strings.TrimPrefix(path, dir+"/")
		for what, do := range damages {
			other := filepath.Join(t.TempDir(), "state")
			if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			if err := do(filepath.Join(other, name)); err != nil {
				t.Fatal(err)
			}
			if info, err := kvback.Inspect(other); err != nil && !errors.Is(err, kvback.ErrNoState) {
				t.Errorf("%s %s: inspect: %v", name, what, err)
			} else if err == nil && info.Damage == nil && info.Records == nil {
				t.Errorf("%s %s: inspect counts nothing and does not say why", name, what)
			}
			got, err := content(t.Context(), other)
			if err != nil {
				refused++
				var locked *kvback.LockedError
				if errors.As(err, &locked) {
					t.Errorf("%s %s: %v", name, what, err)
				}
				continue
			}
			if len(got) != len(want) {
				t.Errorf("%s %s: %d keys of %d, and no error", name, what, len(got), len(want))
				continue
			}
			for k, v := range want {
				if got[k] != v {
					t.Errorf("%s %s: %s is %q, and no error", name, what, k, got[k])
					break
				}
			}
		}
	}
	t.Logf("%d of %d refused", refused, len(names)*len(damages))
	if refused == 0 {
		t.Error("nothing was refused")
	}
}
