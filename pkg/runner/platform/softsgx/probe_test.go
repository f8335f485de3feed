package softsgx

import (
	"testing"
)

func TestProbe(t *testing.T) {
	checks := Probe()
	names := make(map[string]bool)
	for _, c := range checks {
		t.Logf("%-9s %-20s %-5v %s [%s]", c.Platform, c.Name, c.OK, c.Detail, c.Fix)
		if c.Detail == "" || c.OK && c.Fix != "" || names[c.Platform+c.Name] {
			t.Errorf("check %+v", c)
		}
		names[c.Platform+c.Name] = true
	}
	for _, p := range []string{"software", "hardware"} {
		n := 0
		for _, c := range checks {
			if c.Platform == p {
				n++
			}
		}
		if n == 0 {
			t.Errorf("no checks for the %s platform", p)
		}
	}
	if Usable(checks, "none") {
		t.Error("a platform that does not exist is usable")
	}
}
