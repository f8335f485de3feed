package boot

import (
	"encoding/hex"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/enclaveos/eos/pkg/runtime/measure"
	"github.com/enclaveos/eos/pkg/runtime/module"
)

// version is what the runtime says of itself.
func version() string {
	v := "(unknown)"
	if b, ok := debug.ReadBuildInfo(); ok {
		v = b.Main.Version
		for _, d := range b.Deps {
			if d.Path == "github.com/enclaveos/eos" { // a program of somebody else's
				v = d.Version
			}
		}
	}
	return "eos " + v + " " + runtime.Version()
}

// coreLeaves are the runtime's own. The caller holds r.mu.
func (r *Runtime) coreLeaves() []measure.Leaf {
	var names []string
	for _, m := range r.modules {
		names = append(names, m.Name())
	}
	text := func(name, s string) measure.Leaf { return measure.Leaf{Name: "core." + name, Data: []byte(s)} }
	leaves := []measure.Leaf{
		{Name: "core.ca_cert", Data: r.caCert},
		text("evidence", r.config.Evidence),
		text("leaf", r.config.Leaf),
		text("modules", strings.Join(names, ",")),
		text("runtime", version()),
		{Name: "core.operator"},
		{Name: "core.payload", Data: r.payload},
		{Name: "core.attestation_servers"},
	}
	if r.operator != nil {
		leaves[5].Data = []byte(hex.EncodeToString(r.operator))
	}
	if len(r.servers) > 0 {
		leaves[7].Data = serversText(r.servers)
	}
	return leaves
}

// changed computes the configuration anew. From its return on every new connection
// sees the new root.
func (r *Runtime) changed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	leaves := r.coreLeaves()
	for _, m := range r.modules {
		if c, ok := m.(module.Configured); ok {
			leaves = append(leaves, c.ConfigLeaves()...)
		}
	}
	t, err := measure.New(leaves...)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if old := r.tree.Swap(t); old != nil && old.Root() != t.Root() {
		r.log.Info("the configuration has changed", "root", t.Root().String())
	}
	return nil
}
