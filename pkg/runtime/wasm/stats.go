package wasm

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/enclaveos/eos/pkg/runtime/metric"
)

// stats are the figures of an app since it was loaded.
type stats struct {
	calls, faults, fuel atomic.Uint64
	took                metric.Times // of calls, waiting for a place included
	instances           atomic.Int64 // that live
	made                atomic.Uint64

	mu    sync.Mutex
	kinds map[FaultKind]uint64 // of faults
}

// call counts a call that has begun at that time and now ends. in is nil if there was
// no instance.
func (s *stats) call(begun time.Time, in *instance, err error) {
	s.calls.Add(1)
	s.took.Observe(time.Since(begun))
	if in != nil {
		s.fuel.Add(in.used())
	}
	if err != nil {
		s.fault(err)
	}
}

// fault counts a call that has failed, or has not been made.
func (s *stats) fault(err error) {
	f, ok := asFault(err)
	if !ok {
		f = &Fault{Kind: FaultBusy}
	}
	s.faults.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kinds == nil {
		s.kinds = map[FaultKind]uint64{}
	}
	s.kinds[f.Kind]++
}

// appMetrics are the figures of an app as GET /metrics has them in JSON.
type appMetrics struct {
	App        string            `json:"app"`
	CodeHash   string            `json:"code_hash"`
	Calls      uint64            `json:"calls"`
	Errors     uint64            `json:"errors"`
	ByKind     map[string]uint64 `json:"errors_by_kind"`
	Traps      uint64            `json:"traps"`
	Fuel       uint64            `json:"fuel"`
	Duration   durations         `json:"duration_seconds"`
	Concurrent int               `json:"concurrent"`
	Instances  int64             `json:"instances"`
	Made       uint64            `json:"instances_total"`
	Memory     int64             `json:"memory_bytes"`
	MemoryPeak int64             `json:"memory_peak_bytes"`
	Stored     int64             `json:"storage_bytes"`
	Records    int64             `json:"storage_records"`

	took *metric.Times
}

type durations struct {
	Count   uint64   `json:"count"`
	Sum     float64  `json:"sum"`
	Buckets []bucket `json:"buckets"` // each has those before it
}

type bucket struct {
	LE    float64 `json:"le"`
	Count uint64  `json:"count"`
}

// metrics takes the figures.
func (a *App) metrics(ctx context.Context) (appMetrics, error) {
	s := &a.stats
	m := appMetrics{
		App: a.Name, CodeHash: a.CodeHash(), Calls: s.calls.Load(), Errors: s.faults.Load(), ByKind: map[string]uint64{}, Fuel: s.fuel.Load(),
		Concurrent: len(a.places), Instances: s.instances.Load(), Made: s.made.Load(), took: &s.took,
	}
	memory := a.budget.of(&a.memory)
	m.Memory, m.MemoryPeak = memory.now, memory.peak
	s.mu.Lock()
	for kind, n := range s.kinds {
		m.ByKind[kind.String()] = n
	}
	s.mu.Unlock()
	m.Traps = m.ByKind[FaultGuest.String()]
	below, all := s.took.Below()
	m.Duration = durations{Count: all, Sum: s.took.Sum().Seconds()}
	for i, b := range metric.Bounds {
		m.Duration.Buckets = append(m.Duration.Buckets, bucket{b.Seconds(), below[i]})
	}
	if a.host.Tables == nil {
		return m, nil
	}
	for _, kind := range []string{"kv", "key", "fs"} {
		err := a.host.table(kind, a.Name).Keys(ctx, nil, func(key []byte, size int) error {
			m.Records++
			m.Stored += int64(len(key) + size)
			return nil
		})
		if err != nil {
			return m, err
		}
	}
	return m, nil
}

func (m *Module) appMetrics(ctx context.Context) []appMetrics {
	all := []appMetrics{}
	for _, a := range m.sorted() {
		one, err := a.metrics(ctx)
		if err != nil {
			m.log.Warn("what an app has stored is not known", "app", a.Name, "error", err)
		}
		all = append(all, one)
	}
	return all
}

// Metrics implements module.Counter.
func (m *Module) Metrics(ctx context.Context) map[string]any {
	apps := m.appMetrics(ctx)
	var calls, faults, fuel uint64
	for _, a := range apps {
		calls, faults, fuel = calls+a.Calls, faults+a.Errors, fuel+a.Fuel
	}
	return map[string]any{"wasm_calls_total": calls, "wasm_faults_total": faults, "wasm_fuel_total": fuel, "wasm_app_metrics": apps}
}

// Families implements module.Measured.
func (m *Module) Families(ctx context.Context) []metric.Family {
	families := []metric.Family{
		{Name: "eos_wasm_calls_total", Help: "Calls of an app's functions and commands.", Kind: metric.Counter},
		{Name: "eos_wasm_errors_total", Help: "Calls that gave no result, by why: trap is the app's own fault.", Kind: metric.Counter},
		{Name: "eos_wasm_fuel_total", Help: "Fuel that an app's calls have used.", Kind: metric.Counter},
		{Name: "eos_wasm_call_duration_seconds", Help: "How long calls took, waiting for a place included.", Kind: metric.Histogram},
		{Name: "eos_wasm_calls_in_progress", Help: "Calls under way.", Kind: metric.Gauge},
		{Name: "eos_wasm_instances", Help: "Instances that live, those that are kept ready included.", Kind: metric.Gauge},
		{Name: "eos_wasm_instances_total", Help: "Instances that have been made.", Kind: metric.Counter},
		{Name: "eos_wasm_memory_bytes", Help: "Linear memory of an app's instances.", Kind: metric.Gauge},
		{Name: "eos_wasm_memory_peak_bytes", Help: "The most linear memory that an app's instances have had at a time.", Kind: metric.Gauge},
		{Name: "eos_wasm_storage_bytes", Help: "Keys and values that an app has stored, files included.", Kind: metric.Gauge},
		{Name: "eos_wasm_storage_records", Help: "Records that an app has stored.", Kind: metric.Gauge},
	}
	for _, a := range m.appMetrics(ctx) {
		label := []metric.Label{{Name: "app", Value: a.App}}
		add := func(i int, s metric.Sample) { families[i].Samples = append(families[i].Samples, s) }
		for i, v := range map[int]float64{
			0: float64(a.Calls), 2: float64(a.Fuel), 4: float64(a.Concurrent), 5: float64(a.Instances), 6: float64(a.Made),
			7: float64(a.Memory), 8: float64(a.MemoryPeak), 9: float64(a.Stored), 10: float64(a.Records),
		} {
			add(i, metric.Sample{Labels: label, Value: v})
		}
		add(3, metric.Sample{Labels: label, Times: a.took})
		for _, kind := range slices.Sorted(maps.Keys(a.ByKind)) {
			add(1, metric.Sample{Labels: append(slices.Clone(label), metric.Label{Name: "kind", Value: kind}), Value: float64(a.ByKind[kind])})
		}
	}
	return families
}
