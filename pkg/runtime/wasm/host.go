package wasm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"unicode/utf16"

	"github.com/tetratelabs/wazero/api"

	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/pkg/runtime/kvstore"
	"github.com/enclaveos/eos/pkg/runtime/wasm/abi"
	"github.com/enclaveos/eos/pkg/runtime/wasm/meter"
)

// abortModule is what AssemblyScript imports its abort from.
const abortModule = "env"

// args are the arguments of a host call. Reading them checks them; the first that
// is bad decides.
type args struct {
	in    *instance
	mem   api.Memory
	stack []uint64
	code  int32 // below zero: an argument was bad
	made  bool  // buffer has made room for the result
	next  int
}

func (a *args) i32() int32 {
	a.next++
	return int32(uint32(a.stack[a.next-1]))
}

// view reads a pointer and a length, of bytes that are used before the guest goes on: it
// has one thread, so they stay what they are.
func (a *args) view(most int) []byte { return a.room(most) }

// bytes is view for what is kept longer, or may move: the bytes are a copy.
func (a *args) bytes(most int) []byte { return bytes.Clone(a.view(most)) }

// room reads a pointer and a length to write to.
func (a *args) room(most int) []byte {
	ptr, n := uint32(a.i32()), uint32(a.i32())
	if a.code < 0 {
		return nil
	}
	if uint64(n) > uint64(most) {
		a.code = abi.ErrTooLarge
		return nil
	}
	if a.mem == nil {
		a.code = abi.ErrFault
		return nil
	}
	a.in.chargeBytes(int(n))
	b, ok := a.mem.Read(ptr, n)
	if !ok {
		a.code = abi.ErrFault
	}
	return b
}

// give puts a result into the buffer and returns its length. It takes the place of the
// last one.
func (a *args) give(b []byte) int32 {
	a.in.chargeBytes(len(b))
	if !a.made {
		a.in.dropResult()
	}
	a.in.result = b
	return int32(len(b))
}

// largeResult is the size from which results lie where memory does, and not on the heap
// that all share: there they would be garbage sooner than it is collected.
const largeResult = 64 << 10

// buffer gives room for a result of n bytes, empty, in place of the last result. It waits
// for it as an instance does for its memory. nil: there never is so much.
func (a *args) buffer(n int) []byte {
	in := a.in
	in.dropResult()
	a.made = true
	if n < largeResult {
		return make([]byte, 0, n)
	}
	budget := in.app.budget
	if !budget.could(int64(n)) {
		a.code = abi.ErrTooLarge
		return nil
	}
	if f := in.await(func() bool {
		in.large = budget.take(&in.app.memory, int64(n), int64(n))
		return in.large != nil
	}, int64(n)); f != nil {
		in.stop(f)
	}
	return in.large[:0]
}

// dropResult gives back what the last result lies in.
func (in *instance) dropResult() {
	in.result = nil
	if in.large != nil {
		in.app.budget.give(&in.app.memory, in.large)
		in.large = nil
	}
}

// hostFunc does a call and returns its result or an error code.
type hostFunc func(ctx context.Context, a *args) int32

// hostFuncs are the functions of abi.Functions; a test holds that they are all here.
var hostFuncs = map[string]hostFunc{
	"result_read": resultRead, "reply": reply, "fail": fail, "log": logCall,
	"kv_get": kvGet, "kv_put": kvPut, "kv_delete": kvDelete, "kv_list": kvList,
	"digest": digest, "key_generate": keyGenerate, "key_import": keyImport, "key_exists": keyExists,
	"key_delete": keyDelete, "key_public": keyPublic, "encrypt": encrypt, "decrypt": decrypt,
	"sign": sign, "verify": verify, "hmac": hmacCall, "hmac_verify": hmacVerify,
	"random": random, "https_fetch": httpsFetch, "https_status": httpsStatus, "https_headers": httpsHeaders,
	"seal_key": sealKey, "caller": caller, "attestation_set": attestationSet,
}

// instantiateHost makes the host modules that are needed.
func (a *App) instantiateHost(ctx context.Context, need map[string]bool) error {
	b := a.runtime.NewHostModuleBuilder(meter.Module)
	b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(refill), []api.ValueType{api.ValueTypeI32}, nil).
		WithName(meter.Refill).Export(meter.Refill)
	if _, err := b.Instantiate(ctx); err != nil {
		return err
	}
	if need[abi.Module] {
		b := a.runtime.NewHostModuleBuilder(abi.Module)
		for _, f := range abi.Functions {
			call := hostFuncs[f.Name]
			if f.Interface != abi.Core && !a.May(manifest.Interface(f.Interface)) {
				call = denied
			}
			b.NewFunctionBuilder().WithGoModuleFunction(hostCall(call), f.Params, f.Results).
				WithName(f.Name).Export(f.Name)
		}
		if _, err := b.Instantiate(ctx); err != nil {
			return err
		}
	}
	if need[abortModule] {
		i32 := api.ValueTypeI32
		b := a.runtime.NewHostModuleBuilder(abortModule)
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(abort), []api.ValueType{i32, i32, i32, i32}, nil).
			WithName("abort").Export("abort")
		if _, err := b.Instantiate(ctx); err != nil {
			return err
		}
	}
	return nil
}

func hostCall(f hostFunc) api.GoModuleFunction {
	return api.GoModuleFunc(func(ctx context.Context, mod api.Module, stack []uint64) {
		in := instanceOf(ctx)
		in.charge(fuelHostCall)
		a := &args{in: in, mem: mod.Memory(), stack: stack}
		r := f(ctx, a)
		if a.code < 0 {
			r = a.code
		}
		stack[0] = api.EncodeI32(r)
	})
}

// storeError is the code of an error of the store.
func (a *args) storeError(what string, err error) int32 {
	a.in.alive()
	if errors.Is(err, kvstore.ErrQuota) {
		return abi.ErrNoRoom
	}
	a.in.app.log.Error("the store failed", "call", what, "error", err)
	return abi.ErrUnavailable
}

// denied stands in for the functions of interfaces that the app has not.
func denied(context.Context, *args) int32 { return abi.ErrDenied }

func resultRead(_ context.Context, a *args) int32 {
	b := a.room(1 << 31)
	if a.code < 0 {
		return a.code
	}
	return int32(copy(b, a.in.result))
}

func reply(_ context.Context, a *args) int32 {
	limit := int(a.in.app.Limits.OutputBytes)
	b := a.view(limit)
	if a.code == abi.ErrTooLarge {
		a.in.stop(a.in.tooLong(uint64(uint32(a.stack[1]))))
	}
	if a.code == 0 {
		if f := a.in.hold(int64(len(b) - cap(a.in.reply))); f != nil {
			a.in.stop(f)
		}
		if a.in.reply == nil {
			a.in.reply = []byte{} // of no bytes, and not none
		}
		a.in.reply, a.in.replied = append(a.in.reply[:0], b...), true
	}
	return 0
}

func fail(_ context.Context, a *args) int32 {
	b := a.bytes(abi.MaxLog)
	if a.code == 0 {
		a.in.failure, a.in.failed = string(bytes.ToValidUTF8(b, []byte("?"))), true
	}
	return 0
}

func logCall(_ context.Context, a *args) int32 {
	level := a.i32()
	b := a.bytes(abi.MaxLog)
	if a.code == 0 {
		a.in.logLine("log", string(bytes.ToValidUTF8(b, []byte("?"))), slog.Level(max(min(level, abi.LevelError), abi.LevelDebug)))
	}
	return 0
}

// logLine writes one line of the guest's. A call that logs without end is cut.
func (in *instance) logLine(stream, line string, level slog.Level) {
	if in.logged > maxLog {
		return
	}
	in.logged += len(line) + 64
	if in.logged > maxLog {
		line = "(this call's log is cut here)"
	}
	in.app.log.Log(in.ctx, level, line, "stream", stream, "function", in.caller.Function)
}

func caller(_ context.Context, a *args) int32 {
	c := a.in.caller
	if c.Roles == nil {
		c.Roles = []string{}
	}
	slices.Sort(c.Roles)
	b, err := json.Marshal(c)
	if err != nil {
		return abi.ErrUnavailable
	}
	return a.give(b)
}

func attestationSet(ctx context.Context, a *args) int32 {
	n := a.i32()
	b := a.bytes(abi.MaxExtension)
	switch {
	case a.code < 0:
		return a.code
	case n < 1:
		return abi.ErrInvalid
	case a.in.app.host.SetExtension == nil:
		return abi.ErrUnavailable
	}
	a.in.charge(fuelStore)
	if err := a.in.app.host.SetExtension(ctx, a.in.app.Name, uint32(n), b); err != nil {
		if errors.Is(err, errTooMany) {
			return abi.ErrTooLarge
		}
		return a.storeError("attestation_set", err)
	}
	return 0
}

// abort is AssemblyScript's: (message, file, line, column), UTF-16 strings with
// their length in bytes in front.
func abort(ctx context.Context, mod api.Module, stack []uint64) {
	in := instanceOf(ctx)
	text := func(ptr uint32) string {
		m := mod.Memory()
		if m == nil || ptr < 4 {
			return ""
		}
		n, ok := m.ReadUint32Le(ptr - 4)
		if !ok || n > 1024 {
			return ""
		}
		b, ok := m.Read(ptr, n)
		if !ok {
			return ""
		}
		u := make([]uint16, len(b)/2)
		for i := range u {
			u[i] = uint16(b[2*i]) | uint16(b[2*i+1])<<8
		}
		return string(utf16.Decode(u))
	}
	in.stop(faultf(FaultGuest, "the app aborted: %s (%s:%d:%d)", text(uint32(stack[0])), text(uint32(stack[1])), uint32(stack[2]), uint32(stack[3])))
}
