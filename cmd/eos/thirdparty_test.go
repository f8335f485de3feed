package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestThirdParty: every module that go.mod requires is named, with its licence,
// in THIRD-PARTY.md.
func TestThirdParty(t *testing.T) {
	out, err := exec.Command("go", "mod", "edit", "-json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var mod struct{ Require []struct{ Path string } }
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	if len(mod.Require) == 0 {
		t.Fatal("go.mod requires nothing: this test looks in the wrong place")
	}
	text, err := os.ReadFile("../../THIRD-PARTY.md")
	if err != nil {
		t.Fatal(err)
	}
	words := strings.FieldsFunc(string(text), func(r rune) bool { return strings.ContainsRune(" ,|\n", r) })
	named := map[string]bool{}
	for _, w := range words {
		named[w] = true
	}
	for _, r := range mod.Require {
		if !named[r.Path] {
			t.Errorf("THIRD-PARTY.md does not name %s", r.Path)
		}
	}
}
