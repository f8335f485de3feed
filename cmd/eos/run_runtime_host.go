package main

import (
	"errors"
	"io/fs"
	"time"

	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runner/dispatch"
	"github.com/enclaveos/eos/pkg/runner/kvback"
	"github.com/enclaveos/eos/pkg/runtime/kvstore"
	"github.com/enclaveos/eos/pkg/runtime/seal"
)

// runtimeGrace is how long a runtime has to finish requests and write its state.
const runtimeGrace = 15 * time.Second

// runtimeHost is what a runtime has outside, beside what any Go program has.
type runtimeHost struct {
	config string // the program's argument
	store  *kvback.Store
	handle map[wire.Method]dispatch.Handler
}

// openRuntime prepares the host of the runtime image at path.
func openRuntime(u *ui, path string, f *runtimeFlags, pf *platformFlags) (h *runtimeHost, err error) {
	h = &runtimeHost{handle: map[wire.Method]dispatch.Handler{}}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	dir := f.stateDir(path)
	if dir == "" {
		h.store, err = kvback.Memory()
	} else {
		h.store, err = kvback.Open(dir)
	}
	var damaged *kvback.DamagedError
	if errors.As(err, &damaged) {
		err = withHint(err, "the store's files are damaged, or cannot be read: restore a backup of the whole state directory, or see what is there with eos state")
	}
	if err != nil {
		return h, err
	}
	first, err := isFirst(dir, h.store)
	if err != nil {
		return h, err
	}
	if h.config, err = f.config(u, dir, first); err != nil {
		return h, err
	}
	q, err := openQuoting(pf)
	if err != nil {
		return h, err
	}
	for m, do := range q.Handlers() {
		h.handle[m] = do
	}
	for m, do := range h.store.Handlers() {
		h.handle[m] = do
	}
	return h, nil
}

// isFirst reports whether the enclave will make a new state: there is no configuration
// and no record, and the sealed root, if a first start has been cut off behind it, has no
// commit. A directory of which a part is missing gets no new token.
func isFirst(dir string, store *kvback.Store) (bool, error) {
	if dir == "" {
		return true, nil
	}
	if _, err := kvback.ReadSealed(dir, seal.File); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if empty, err := store.Empty(); !empty || err != nil {
		return false, err
	}
	b, err := kvback.ReadSealed(dir, kvstore.RootFile)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	root, err := kvstore.ParseRoot(b)
	return err == nil && root.Commit == 0, nil // what is wrong with it the enclave tells
}

func (h *runtimeHost) close() error {
	if h == nil || h.store == nil {
		return nil
	}
	return h.store.Close()
}
