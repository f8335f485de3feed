package guests

import (
	"os"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/pkg/sgxs/fromwasm"
)

// TestGuests: what each tool chain makes can be an app, with the functions and types
// that its source names.
func TestGuests(t *testing.T) {
	for name := range recipes {
		if name == "notes" || strings.HasPrefix(name, "all-") {
			continue // called in the stories, and by TestSDKsAgree
		}
		t.Run(name, func(t *testing.T) {
			code, err := os.ReadFile(Build(t, name))
			if err != nil {
				t.Fatal(err)
			}
			m, err := fromwasm.Check(t.Context(), code)
			if err != nil {
				t.Fatal(err)
			}
			a := manifest.NewApp(name)
			if err := m.Fits(&a); err != nil {
				t.Error(err)
			}
			var have []string
			for _, f := range m.Functions {
				have = append(have, f.String())
			}
			switch name {
			case "cgi-c", "cgi-rust", "wasi-c":
				if m.Kind != fromwasm.Command {
					t.Errorf("a %s", m.Kind)
				}
			case "store-c":
				if len(have) != 3 || have[0] != "erase(key:string)bool" || len(m.Interfaces) != 1 || m.Interfaces[0] != manifest.KV {
					t.Errorf("%q, %q", have, m.Interfaces)
				}
			case "work-c":
				if len(have) != 2 || have[0] != "tight(n:s32)s32" || have[1] != "work(n:s32)s32" {
					t.Errorf("%q", have)
				}
			case "work-go":
				if len(have) != 1 || have[0] != "work(n:s32)s32" {
					t.Errorf("%q", have)
				}
			case "simd-c":
				if len(have) != 2 || have[0] != "dot(a:s32,b:s32)s32" || !strings.Contains(string(code), "\xfd") {
					t.Errorf("%q", have)
				}
			default:
				if len(have) != 2 || have[0] != "add(a:s32,b:s32)s32" || have[1] != "hello(name:string)string" {
					t.Errorf("%q", have)
				}
			}
		})
	}
}
