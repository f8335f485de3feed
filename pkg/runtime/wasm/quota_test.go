package wasm

import (
	"slices"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/pkg/runtime/wasm/abi"
)

// bounded gives an app that little room.
func bounded(t *testing.T, a *App, room uint64) {
	t.Helper()
	old := a.Limits
	a.Limits.TimeMS = 60_000 // it is not about time
	set := func(limit uint64) {
		a.Limits.Storage = limit
		if err := a.openStore(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	used, _ := a.quota.Used()
	set(used + room)
	t.Cleanup(func() { a.Limits = old; _ = a.openStore(t.Context()) })
}

// TestStorageLimit: an app that stores without end is told, in both engines, for keys and
// for files; what it has stays, and can be deleted; its neighbour does not notice.
func TestStorageLimit(t *testing.T) {
	for _, pair := range [][2]*App{{sharedGuest(t), otherGuest(t)}, {otherGuest(t), sharedGuest(t)}} {
		t.Run(pair[0].Name, func(t *testing.T) { fillUp(t, pair[0], pair[1]) })
	}
}

func fillUp(t *testing.T, a, neighbour *App) {
	bounded(t, a, 5_000)
	big := strings.Repeat("x", 3_000)
	got := script(t, a, `[["kv_put","quota/1","`+big+`"],["kv_put","quota/2","`+big+`"],["kv_get","quota/2"],["key_generate",4,"quota"]]`)
	if want := []int32{0, abi.ErrNoRoom, abi.ErrNotFound, 0}; !slices.Equal(codes(got), want) {
		t.Errorf("%s: %v, want %v", a.Name, codes(got), want)
	}
	write := func(name, text string) string {
		r, err := call(t, a, "write", `{"path":"/`+name+`","text":"`+text+`"}`)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := write("quota1", big[:1_000]); r != `"ok"` {
		t.Error(r)
	}
	if r := write("quota2", big); !strings.Contains(r, "No space left on device") {
		t.Errorf("%s: %s", a.Name, r)
	}
	if r := write(strings.Repeat("d/", 30)+"x", ""); !strings.Contains(r, "No space left on device") {
		t.Errorf("%s: directories: %s", a.Name, r)
	}
	if r, err := call(t, neighbour, "write", `{"path":"/quota","text":"`+big+`"}`); err != nil || r != `"ok"` {
		t.Errorf("the neighbour of %s: %s, %v", a.Name, r, err)
	}
	got = script(t, a, `[["kv_delete","quota/1"],["key_delete","quota"],["kv_put","quota/1","again"],["kv_delete","quota/1"]]`)
	if want := []int32{1, 1, 0, 1}; !slices.Equal(codes(got), want) {
		t.Errorf("%s: %v, want %v", a.Name, codes(got), want)
	}
	if r := write("quota2", big[:2_000]); r != `"ok"` {
		t.Errorf("%s: after the deletion: %s", a.Name, r)
	}
}

// TestStorageLimitIsTheManifests: it is in force without more.
func TestStorageLimitIsTheManifests(t *testing.T) {
	tables, quotas := openStore(t)
	h := newHost(t, Interpreter)
	h.Tables, h.Quotas = tables, quotas
	a := load(t, h, "small", guest(t), func(m *manifest.App) { m.Limits.Storage = 1000 })
	got := script(t, a, `[["kv_put","k","`+strings.Repeat("x", 1000)+`"],["kv_put","k","v"]]`)
	if want := []int32{abi.ErrNoRoom, 0}; !slices.Equal(codes(got), want) {
		t.Errorf("%v, want %v", codes(got), want)
	}
	if used, limit := a.quota.Used(); limit != 1000 || used == 0 {
		t.Errorf("%d of %d", used, limit)
	}
}
