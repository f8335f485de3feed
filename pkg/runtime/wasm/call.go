package wasm

import (
	"context"
	"encoding/json"
	"time"

	"github.com/enclaveos/eos/pkg/runtime/wasm/abi"
)

// Caller is who calls, as the app can learn it.
type Caller struct {
	App      string   `json:"app"`
	Function string   `json:"function"`
	Role     string   `json:"role"`           // of the runtime: anyone, monitor, manager
	Roles    []string `json:"roles"`          // of the manifest
	Peer     string   `json:"peer,omitempty"` // MRENCLAVE of an attested client, hex
}

// Result of a call.
type Result struct {
	Type  abi.Type        // abi.None: Value is null
	Value json.RawMessage // JSON
	Fuel  uint64          // that the call took
}

// acquire waits for a place among the calls under way.
func (a *App) acquire(ctx context.Context) (release func(), err error) {
	wait := time.NewTimer(time.Duration(a.Limits.TimeMS) * time.Millisecond)
	defer wait.Stop()
	select {
	case a.places <- struct{}{}:
		return func() { <-a.places }, nil
	case <-wait.C:
		return nil, faultf(FaultBusy, "app %s has %d calls under way", a.Name, cap(a.places))
	case <-ctx.Done():
		return nil, faultf(FaultBusy, "the caller has gone")
	}
}

// Call runs a function with named parameters in a fresh instance.
func (a *App) Call(ctx context.Context, caller Caller, name string, params map[string]json.RawMessage) (r *Result, err error) {
	var in *instance
	defer func(begun time.Time) { a.stats.call(begun, in, err) }(time.Now())
	f, ok := a.functions[name]
	if !ok {
		return nil, faultf(FaultUnknown, "app %s has no function %s", a.Name, name)
	}
	for n := range params {
		if !hasParam(f.Signature, n) {
			return nil, faultf(FaultArgument, "function %s has no parameter %s: it is %s", name, n, f.Signature)
		}
	}
	for _, p := range f.Params {
		if _, ok := params[p.Name]; !ok {
			return nil, faultf(FaultArgument, "parameter %s is missing: the function is %s", p.Name, f.Signature)
		}
	}
	release, err := a.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	caller.App, caller.Function = a.Name, name
	if a.pool != nil {
		in = a.pool.take(ctx, caller, a.deadline())
	}
	if in == nil {
		in, err = a.newInstance(ctx, caller, a.deadline(), stdio{})
	}
	if err != nil {
		return nil, err
	}
	if r, err = in.call(f, params); err != nil {
		in.close()
		return nil, err
	}
	return r, in.finish()
}

func (in *instance) call(f function, params map[string]json.RawMessage) (*Result, error) {
	args, err := in.arguments(f.Signature, params)
	if err != nil {
		return nil, err
	}
	values, err := in.mod.ExportedFunction(f.export).Call(in.context(), args...)
	if err != nil {
		return nil, in.explain(err)
	}
	return in.take(f.Signature, values)
}

func (a *App) deadline() time.Time {
	return time.Now().Add(time.Duration(a.Limits.TimeMS) * time.Millisecond)
}

func hasParam(s abi.Signature, name string) bool {
	for _, p := range s.Params {
		if p.Name == name {
			return true
		}
	}
	return false
}

// arguments puts the parameters into core values, and those that need it into the
// guest's memory.
func (in *instance) arguments(s abi.Signature, params map[string]json.RawMessage) ([]uint64, error) {
	var args []uint64
	for _, p := range s.Params {
		if !p.Type.Indirect() {
			v, err := scalar(p.Type, params[p.Name])
			if err != nil {
				return nil, faultf(FaultArgument, "parameter %s: %v", p.Name, err)
			}
			args = append(args, v)
			continue
		}
		b, err := indirect(p.Type, params[p.Name])
		if err != nil {
			return nil, faultf(FaultArgument, "parameter %s: %v", p.Name, err)
		}
		ptr, err := in.put(b)
		if err != nil {
			return nil, err
		}
		args = append(args, uint64(ptr), uint64(len(b)))
	}
	return args, nil
}

// put copies bytes into memory that the guest provides.
func (in *instance) put(b []byte) (uint32, error) {
	if uint64(len(b)) > uint64(in.app.Limits.MemoryPages)<<16 {
		return 0, faultf(FaultArgument, "the parameters have more bytes than the app's memory")
	}
	v, err := in.mod.ExportedFunction(abi.ExportAlloc).Call(in.context(), uint64(len(b)))
	if err != nil {
		return 0, in.explain(err)
	}
	ptr := uint32(v[0])
	if m := in.mod.Memory(); m == nil || !m.Write(ptr, b) {
		return 0, faultf(FaultGuest, "%s(%d) gave memory that there is not", abi.ExportAlloc, len(b))
	}
	return ptr, nil
}

// take takes the result out of the guest.
func (in *instance) take(s abi.Signature, values []uint64) (*Result, error) {
	if in.failed {
		return nil, faultf(FaultRefused, "%s", in.failure)
	}
	r := &Result{Type: s.Result, Value: json.RawMessage("null"), Fuel: in.used()}
	var err error
	switch {
	case s.Result == abi.None:
	case !s.Result.Indirect():
		r.Value, err = scalarJSON(s.Result, values[0])
	default:
		b := in.reply
		if len(values) == 1 && !in.replied {
			ptr, n := uint32(values[0]>>32), uint32(values[0])
			if n > in.app.Limits.OutputBytes {
				return nil, in.tooLong(uint64(n))
			}
			var ok bool
			if m := in.mod.Memory(); m != nil {
				b, ok = m.Read(ptr, n)
			}
			if !ok {
				return nil, faultf(FaultGuest, "the result lies outside the app's memory")
			}
		}
		if f := in.hold(answerCopies * jsonSize(s.Result, b)); f != nil {
			return nil, f
		}
		r.Value, err = indirectJSON(s.Result, b)
	}
	if err != nil {
		return nil, faultf(FaultGuest, "%v", err)
	}
	return r, nil
}

func (in *instance) tooLong(n uint64) *Fault {
	return faultf(FaultOutput, "the app's result has %d bytes, more than its limit of %d", n, in.app.Limits.OutputBytes)
}
