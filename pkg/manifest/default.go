package manifest

import (
	"fmt"
	"strings"
)

// DefaultLimits are those of an app whose manifest names none.
var DefaultLimits = Limits{
	Fuel:        10_000_000_000,
	MemoryPages: 64 << 20 / PageSize,
	TimeMS:      10_000,
	OutputBytes: 1 << 20,
	Concurrency: 16,
	Storage:     256 << 20,
}

// DefaultInterfaces are those of an app whose manifest names none: what stays
// inside the enclave and says nothing of it.
var DefaultInterfaces = []Interface{Caller, Crypto, KV, Random}

// PageSize is that of WASM memory.
const PageSize = 64 << 10

// NewApp is an app without a module, as a manifest that names nothing but its
// name means it. Everybody may call it.
func NewApp(name string) App {
	return App{
		Name: name, Interfaces: append([]Interface{}, DefaultInterfaces...), Limits: DefaultLimits,
		Permissions: Permissions{Default: Public},
	}
}

// NameOf derives an app's name from a file's: "dir/Key_Notes.wasm" is
// "key-notes". The error says that it cannot.
func NameOf(file string) (string, error) {
	base := file[strings.LastIndexAny(file, `/\`)+1:]
	name, _, _ := strings.Cut(strings.ToLower(base), ".")
	name = strings.NewReplacer("_", "-", " ", "-").Replace(name)
	if !isLabel(name) {
		return "", fmt.Errorf("%s: %q is no name for an app: want letters, digits and hyphens", file, name)
	}
	return name, nil
}
