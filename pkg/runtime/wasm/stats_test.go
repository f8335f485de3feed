package wasm

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/pkg/runtime/metric"
	"github.com/enclaveos/eos/pkg/runtime/module"
)

var _ module.Measured = (*Module)(nil)
var _ module.Counter = (*Module)(nil)

// TestMetrics: each call is counted once, by how it ended, and nothing is left.
func TestMetrics(t *testing.T) {
	trap := assemble("", "\x7f", "\x00")
	loop := assemble("", "\x7f", "\x03\x40\x0c\x00\x0b\x00")
	w := newWorld(t, map[string][]byte{"adder": adder, "trap": trap, "loop": loop, "closed": fortyTwo}, func(m *manifest.Manifest) {
		for i := range m.Apps {
			a := &m.Apps[i]
			a.Limits.Fuel = 1000
			if a.Name == "closed" {
				a.Permissions.Default = manifest.Operator
			}
		}
	})
	for _, c := range []struct {
		app, body string
		status    int
	}{
		{"adder", `{"p0":1,"p1":2}`, 200}, {"adder", `{"p0":1,"p1":2}`, 200}, {"adder", `{"p0":1}`, 400}, {"adder", `{`, 400},
		{"trap", `{}`, 502}, {"loop", `{}`, 502}, {"closed", `{}`, 401},
	} {
		if rec := w.do("POST", "/rpc/"+c.app+"/f", "", c.body); rec.Code != c.status {
			t.Errorf("%s %s: %d %s", c.app, c.body, rec.Code, rec.Body)
		}
	}
	if err := w.m.host.table("kv", "adder").Put(t.Context(), []byte("key"), []byte("value")); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(w.m.Metrics(context.Background()))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Calls  uint64 `json:"wasm_calls_total"`
		Faults uint64 `json:"wasm_faults_total"`
		Fuel   uint64 `json:"wasm_fuel_total"`
		Apps   []struct {
			App        string
			Calls      uint64
			Errors     uint64
			ByKind     map[string]uint64 `json:"errors_by_kind"`
			Traps      uint64
			Fuel       uint64
			Duration   durations `json:"duration_seconds"`
			Concurrent int
			Instances  int
			Made       uint64 `json:"instances_total"`
			Memory     int64  `json:"memory_bytes"`
			Peak       int64  `json:"memory_peak_bytes"`
			Stored     int64  `json:"storage_bytes"`
			Records    int64  `json:"storage_records"`
		} `json:"wasm_app_metrics"`
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	// A body that is no JSON, and a call without a token, never become calls.
	if len(got.Apps) != 4 || got.Calls != 5 || got.Faults != 4 || got.Fuel < 6 {
		t.Fatalf("%s", b)
	}
	a, empty := got.Apps[0], got.Apps[1]
	if a.App != "adder" || a.Calls != 3 || a.Errors != 1 || a.ByKind["argument"] != 1 || a.Fuel != 6 || a.Made != 2 || a.Peak != 1<<16 ||
		a.Stored != empty.Stored+8 || a.Records != empty.Records+1 || a.Duration.Count != 3 || a.Duration.Sum <= 0 || a.Duration.Buckets[len(a.Duration.Buckets)-1].Count != 3 {
		t.Errorf("%+v", a)
	}
	if empty.App != "closed" || empty.Calls != 0 || empty.ByKind["token"] != 1 {
		t.Errorf("%+v", empty)
	}
	if l := got.Apps[2]; l.App != "loop" || l.ByKind["fuel"] != 1 || l.Fuel < 1000 || l.Traps != 0 {
		t.Errorf("%+v", l)
	}
	if p := got.Apps[3]; p.App != "trap" || p.ByKind["trap"] != 1 || p.Traps != 1 {
		t.Errorf("%+v", p)
	}
	for _, a := range got.Apps {
		if a.Concurrent != 0 || a.Instances != 0 || a.Memory != 0 {
			t.Errorf("left over: %+v", a)
		}
	}
	text := string(metric.Append(nil, w.m.Families(context.Background())...))
	for _, want := range []string{
		"# TYPE eos_wasm_calls_total counter\n" + `eos_wasm_calls_total{app="adder"} 3` + "\n" + `eos_wasm_calls_total{app="closed"} 0` + "\n",
		`eos_wasm_errors_total{app="adder",kind="argument"} 1` + "\n",
		`eos_wasm_errors_total{app="trap",kind="trap"} 1` + "\n",
		`eos_wasm_fuel_total{app="adder"} 6` + "\n",
		`eos_wasm_call_duration_seconds_bucket{app="adder",le="+Inf"} 3` + "\n",
		`eos_wasm_call_duration_seconds_count{app="adder"} 3` + "\n",
		`eos_wasm_calls_in_progress{app="adder"} 0` + "\n", `eos_wasm_instances{app="adder"} 0` + "\n", `eos_wasm_instances_total{app="adder"} 2` + "\n",
		`eos_wasm_memory_bytes{app="adder"} 0` + "\n", `eos_wasm_memory_peak_bytes{app="adder"} 65536` + "\n",
		fmt.Sprintf("eos_wasm_storage_bytes{app=%q} %d\n", "adder", a.Stored), fmt.Sprintf("eos_wasm_storage_records{app=%q} %d\n", "adder", a.Records),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for k := FaultArgument; k <= FaultRefused; k++ {
		if k.String() == "" {
			t.Errorf("fault %d has no word", k)
		}
	}
}
