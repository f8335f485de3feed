package enclaves

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/runner/edp"
)

// usercallLoops are the loops of the bench enclave.
var usercallLoops = []string{"null", "write", "alloc", "time", "close"}

func TestBench(t *testing.T) {
	onEach(t, func(t *testing.T, m *machine) {
		img := image(t, "bench", defaults)
		for _, loop := range usercallLoops {
			want := ""
			if loop == "write" {
				want = strings.Repeat(".", 100)
			}
			m.run(t, img, edp.Options{Args: []string{loop, "100"}}).want(t, want)
		}
	})
}

// BenchmarkUsercall times one usercall from inside and back: "null" is
// wait(0, WAIT_NO), "write" writes a byte to a stream that throws it away,
// "alloc" is two usercalls.
func BenchmarkUsercall(b *testing.B) {
	for _, trapOnly := range []bool{false, true} {
		m := newMachine(b, trapOnly)
		img := image(b, "bench", defaults)
		for _, loop := range usercallLoops {
			b.Run(fmt.Sprintf("%s/trap-only=%v", loop, trapOnly), func(b *testing.B) {
				e := m.mustLoad(b, img)
				defer e.Close()
				c, err := edp.NewCommand(e, edp.Options{Args: []string{loop, fmt.Sprint(b.N)}})
				if err != nil {
					b.Fatal(err)
				}
				b.ResetTimer()
				if err := c.Run(context.Background()); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}
