package main

import (
	"path/filepath"
	"testing"
)

func TestStateDir(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	fallback := filepath.Join(home, ".local", "state", "eos")
	for _, c := range []struct{ flag, xdg, want string }{
		{"here", "/xdg", "here"},
		{"", "/xdg", "/xdg/eos"},
		{"", "", fallback},
		{"", "relative", fallback}, // which the XDG specification says to ignore
	} {
		t.Setenv("XDG_STATE_HOME", c.xdg)
		if got, err := stateDir(c.flag); err != nil || got != c.want {
			t.Errorf("stateDir(%q) with XDG_STATE_HOME=%q: %q, %v; want %q", c.flag, c.xdg, got, err, c.want)
		}
	}
	t.Setenv("HOME", "")
	t.Setenv("XDG_STATE_HOME", "")
	if got, err := stateDir(""); err == nil {
		t.Errorf("without a home: %q", got)
	}
}
