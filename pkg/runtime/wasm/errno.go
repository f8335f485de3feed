package wasm

import (
	"context"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// errnos tells guests that a disk is full, or a file too large: wazero's file systems have
// no such errors, and its WASI says EIO instead. It listens to the functions of WASI that
// can meet them, and puts the number in the place of EIO.
type errnos struct{}

// errnoIO is WASI's EIO.
const errnoIO = 29

// NewFunctionListener implements experimental.FunctionListenerFactory.
func (errnos) NewFunctionListener(f api.FunctionDefinition) experimental.FunctionListener {
	switch f.Name() {
	case "fd_write", "fd_pwrite", "fd_filestat_set_size", "fd_allocate", "fd_sync", "fd_datasync", "fd_close", "fd_renumber",
		"path_open", "path_create_directory", "path_rename":
		return errnos{}
	}
	return nil
}

// Before implements experimental.FunctionListener.
func (errnos) Before(context.Context, api.Module, api.FunctionDefinition, []uint64, experimental.StackIterator) {
}

// After implements experimental.FunctionListener.
func (errnos) After(ctx context.Context, _ api.Module, _ api.FunctionDefinition, results []uint64) {
	in := instanceOf(ctx)
	if in.files == nil {
		return
	}
	if errno := in.files.TakeErrno(); errno != 0 && results[0] == errnoIO {
		results[0] = uint64(errno)
	}
}

// Abort implements experimental.FunctionListener.
func (errnos) Abort(context.Context, api.Module, api.FunctionDefinition, error) {}
