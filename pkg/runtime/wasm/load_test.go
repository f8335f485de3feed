package wasm

import (
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/manifest"
)

// TestLoadImports: what would fail at each call is refused when it is loaded.
func TestLoadImports(t *testing.T) {
	// (module (type (func)) (import MODULE NAME (func (type 0))) (export "f" (func 0)))
	importing := func(module, name string) []byte {
		vec := func(s string) string { return string(rune(len(s))) + s }
		sec := func(id byte, s string) string { return string(rune(id)) + vec(s) }
		return []byte("\x00asm\x01\x00\x00\x00" + sec(1, "\x01\x60\x00\x00") +
			sec(2, "\x01"+vec(module)+vec(name)+"\x00\x00") + sec(7, "\x01\x01f\x00\x00"))
	}
	for _, c := range []struct{ module, name, want string }{
		{"eos", "reply", "imports eos.reply as a function of another type"},
		{"wasi_snapshot_preview1", "fd_write", "fd_write as a function of another type"},
		{"wasi_snapshot_preview1", "teleport", "imports wasi_snapshot_preview1.teleport, which there is not"},
		{"wasi_snapshot_preview1", "sched_yield", "sched_yield as a function of another type"},
	} {
		_, err := newHost(t, Interpreter).Load(t.Context(), manifest.NewApp("x"), importing(c.module, c.name))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s.%s: %v; want %q", c.module, c.name, err, c.want)
		}
	}
}
