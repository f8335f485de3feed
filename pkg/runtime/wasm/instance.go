package wasm

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	experimentalsys "github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/experimental/sysfs"
	"github.com/tetratelabs/wazero/sys"

	"github.com/enclaveos/eos/pkg/runtime/wasm/meter"
	"github.com/enclaveos/eos/pkg/runtime/wasm/wasifs"
)

// slice is how much fuel a guest gets at a time. It comes back to Go between two
// slices, about every millisecond: a guest in an endless loop stops neither the
// garbage collector nor its neighbours, and its time ends when it is over.
const slice = 1 << 20

// Fuel of the host's own work, on top of what the guest spends.
const (
	fuelHostCall  = 100    // any call of the host
	fuelHostBytes = 8      // bytes of it for one unit
	fuelStore     = 10_000 // any access to the store or the network
)

// instance is a module in memory, for one call.
type instance struct {
	app      *App
	mod      api.Module
	fuel     api.MutableGlobal
	memory   *linearMemory // nil: the module has none
	admitted bool          // its size is counted
	spare    bool          // made for the pool: it takes only memory that nobody waits for
	ctx      context.Context
	end      time.Time
	caller   Caller

	left  uint64 // fuel not handed out yet
	given uint64
	host  uint64 // fuel that the host's work took while fuel was not at hand

	result     []byte // of the last host call that has one
	large      []byte // of the budget: what it lies in, if it is large
	reply      []byte // what the guest said is the result
	held       int64  // bytes on the heap that are counted until the answer is written
	replied    bool
	failure    string // what the guest said is wrong
	failed     bool
	logs       [2]*logWriter
	logged     int // bytes of log so far
	fetched    fetched
	fetchedAll int64        // bytes that are counted as fetched until the instance is gone
	files      *wasifs.View // nil: there is no store
	err        *Fault       // why the host ended the guest
}

type instanceKey struct{}

func instanceOf(ctx context.Context) *instance { return ctx.Value(instanceKey{}).(*instance) }

// stop ends the guest: wazero turns the panic into the error of the call.
func (in *instance) stop(f *Fault) {
	in.err = f
	panic(f)
}

// refill is the guest asking for fuel.
func refill(ctx context.Context, mod api.Module, stack []uint64) {
	in := instanceOf(ctx)
	if meter.OutOfStack(uint32(stack[0])) {
		in.stop(faultf(FaultStack, "the app's call stack is exhausted"))
	}
	g := mod.ExportedGlobal(meter.Fuel).(api.MutableGlobal)
	g.Set(uint64(in.grant(int64(g.Get()))))
	runtime.Gosched() // to the neighbours
}

// grant brings fuel to zero or more, in slices, or ends the guest.
func (in *instance) grant(fuel int64) int64 {
	in.alive()
	fuel -= int64(in.host)
	in.host = 0
	for fuel < 0 {
		n := min(slice, in.left)
		if n == 0 {
			in.stop(faultf(FaultFuel, "the app has used up its fuel of %d", in.app.Limits.Fuel))
		}
		in.left -= n
		in.given += n
		fuel += int64(n)
	}
	return fuel
}

// alive ends the guest when its time is over or nobody waits for it.
func (in *instance) alive() {
	if !time.Now().Before(in.end) {
		in.stop(faultf(FaultTime, "the app's time of %d ms is over", in.app.Limits.TimeMS))
	}
	if in.ctx.Err() != nil {
		in.stop(faultf(FaultTime, "the caller has gone"))
	}
}

// charge takes fuel for the host's own work.
func (in *instance) charge(n uint64) {
	in.alive()
	if in.fuel == nil { // a start function runs
		in.host += n
		if in.host > in.left {
			in.stop(faultf(FaultFuel, "the app has used up its fuel of %d", in.app.Limits.Fuel))
		}
		return
	}
	fuel := int64(in.fuel.Get()) - int64(n)
	if fuel < 0 {
		fuel = in.grant(fuel)
	}
	in.fuel.Set(uint64(fuel))
}

func (in *instance) chargeBytes(n int) { in.charge(fuelHostCall + uint64(n)/fuelHostBytes) }

// used is the fuel that is spent.
func (in *instance) used() uint64 {
	if in.fuel == nil {
		return in.given
	}
	return in.given - in.fuel.Get() + in.host
}

// stdio is what a guest reads and writes.
type stdio struct {
	env    []string
	stdin  io.Reader
	stdout io.Writer // nil: the log
}

// newInstance makes an instance and runs its start functions but _start.
func (a *App) newInstance(ctx context.Context, caller Caller, end time.Time, s stdio) (*instance, error) {
	return (&instance{app: a, ctx: ctx, end: end, caller: caller, left: a.Limits.Fuel}).make(s)
}

func (in *instance) make(s stdio) (_ *instance, err error) {
	a := in.app
	in.logs = [2]*logWriter{{in: in, stream: "stdout"}, {in: in, stream: "stderr"}}
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions().
		WithArgs(append([]string{a.Name}, a.Args...)...).
		WithRandSource(randomness{in}).
		WithWalltime(in.walltime, sys.ClockResolution(time.Microsecond)).
		WithNanotime(in.nanotime, sys.ClockResolution(time.Microsecond)).
		WithNanosleep(in.sleep).WithOsyield(runtime.Gosched).
		WithStdout(in.logs[0]).WithStderr(in.logs[1])
	if s.stdin != nil {
		config = config.WithStdin(s.stdin)
	}
	if s.stdout != nil {
		config = config.WithStdout(s.stdout)
	}
	for _, list := range [][]string{a.Env, s.env} {
		for _, kv := range list {
			k, v, _ := cutByte(kv, '=')
			config = config.WithEnv(k, v)
		}
	}
	files := wazero.NewFSConfig()
	mount := func(fs experimentalsys.FS, at string) { files = files.(sysfs.FSConfig).WithSysFSMount(fs, at) }
	if a.files != nil {
		in.files = a.files.View(in.fsAccess)
		in.files.Bound(func() time.Time { return in.end })
		mount(in.files, "/")
	}
	if len(a.Egress) > 0 && a.host.Dial != nil {
		mount(&netFS{in: in}, netMount)
	}
	config = config.WithFSConfig(files)
	defer func() {
		if r := recover(); r != nil {
			f, ok := r.(*Fault)
			if !ok {
				f = faultf(FaultGuest, "the app could not be started")
				a.log.Error("an instance could not be made", "panic", fmt.Sprint(r))
			}
			in.free()
			in, err = nil, f
		}
	}()
	if f := in.await(func() bool { return a.budget.admit(&a.memory, a.size) }, a.size); f != nil {
		return nil, f
	}
	in.admitted = true
	ictx := experimental.WithMemoryAllocator(in.context(), in)
	if in.mod, err = a.runtime.InstantiateModule(ictx, a.compiled, config); err != nil {
		in.free()
		return nil, in.explain(err)
	}
	a.stats.made.Add(1)
	a.stats.instances.Add(1)
	in.fuel = in.mod.ExportedGlobal(meter.Fuel).(api.MutableGlobal)
	if a.reactor {
		if _, err := in.mod.ExportedFunction(initExport).Call(in.context()); err != nil {
			in.close()
			return nil, in.explain(err)
		}
	}
	return in, nil
}

func (in *instance) context() context.Context {
	return context.WithValue(in.ctx, instanceKey{}, in)
}

// free gives back the memory of an instance that did not come to be: wazero does so
// only for those that did.
func (in *instance) free() {
	if in.memory != nil {
		in.memory.Free()
	}
	in.dismiss()
}

// dismiss gives back what the instance has taken beside its memory.
func (in *instance) dismiss() {
	in.dropResult()
	in.release()
	in.app.host.fetched.Add(-in.fetchedAll)
	in.fetchedAll = 0
	if in.admitted {
		in.app.budget.dismiss(&in.app.memory, in.app.size)
	}
	in.admitted = false
}

// close frees the instance of a call that has failed.
func (in *instance) close() {
	in.app.stats.instances.Add(-1)
	_ = in.mod.Close(in.context())
	in.dismiss()
	for _, l := range in.logs {
		l.flush()
	}
}

// finish frees the instance of a call that has not failed, unless it does here: files
// are flushed, and fuel may be overdrawn by what runs after the last check.
func (in *instance) finish() error {
	used := in.used()
	in.app.stats.instances.Add(-1)
	err := in.mod.Close(in.context())
	in.dismiss()
	for _, l := range in.logs {
		l.flush()
	}
	if used > in.app.Limits.Fuel {
		return faultf(FaultFuel, "the app has used up its fuel of %d", in.app.Limits.Fuel)
	}
	if err != nil {
		in.app.log.Error("files could not be stored", "error", err)
		return faultf(FaultBusy, "the app's files could not be stored")
	}
	return nil
}

// explain says why a call ended.
func (in *instance) explain(err error) error {
	if in.err != nil {
		return in.err
	}
	if f, ok := asFault(err); ok {
		return f
	}
	if in.failed {
		return faultf(FaultRefused, "%s", in.failure)
	}
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		return faultf(FaultGuest, "the app exited with code %d", exit.ExitCode())
	}
	if strings.Contains(err.Error(), "wasm error: stack overflow") { // the engine's own limit, that of the interpreter
		return faultf(FaultStack, "the app's call stack is exhausted")
	}
	in.app.log.Warn("the app trapped", "function", in.caller.Function, "error", err)
	text := err.Error()
	if i := bytes.IndexByte([]byte(text), '\n'); i >= 0 {
		text = text[:i]
	}
	return faultf(FaultGuest, "the app trapped: %s", text)
}

// fsAccess is called before each operation on a file.
func (in *instance) fsAccess(bytes int) { in.chargeBytes(bytes) }

// The clocks are the host's: nothing that matters may rest on them alone.

func (in *instance) walltime() (int64, int32) {
	in.charge(fuelHostCall)
	t := time.Now()
	return t.Unix(), int32(t.Nanosecond())
}

var epoch = time.Now()

func (in *instance) nanotime() int64 {
	in.charge(fuelHostCall)
	return int64(time.Since(epoch))
}

func (in *instance) sleep(ns int64) {
	in.charge(fuelHostCall)
	t := time.NewTimer(min(time.Duration(ns), time.Until(in.end)))
	defer t.Stop()
	select {
	case <-t.C:
	case <-in.ctx.Done():
	}
	in.alive()
}

// randomness is RDRAND, by the program's own generator.
type randomness struct{ in *instance }

func (r randomness) Read(b []byte) (int, error) {
	r.in.chargeBytes(len(b))
	return rand.Read(b)
}

// logWriter puts what a guest writes into the log, line by line.
type logWriter struct {
	in     *instance
	stream string
	line   []byte
}

const (
	maxLine = 4096      // of the log
	maxLog  = 256 << 10 // of one call
)

func (w *logWriter) Write(b []byte) (int, error) {
	w.in.chargeBytes(len(b))
	for _, c := range b {
		if c != '\n' {
			w.line = append(w.line, c)
		}
		if c == '\n' || len(w.line) == maxLine {
			w.flush()
		}
	}
	return len(b), nil
}

func (w *logWriter) flush() {
	if len(w.line) > 0 {
		w.in.logLine(w.stream, string(w.line), 0)
		w.line = w.line[:0]
	}
}

func cutByte(s string, c byte) (before, after string, ok bool) {
	for i := range len(s) {
		if s[i] == c {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}
