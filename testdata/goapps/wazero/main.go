// Wazero compiles a module that adds two numbers, and calls it.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/tetratelabs/wazero"
)

// add is (module (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)).
var add = []byte("\x00asm\x01\x00\x00\x00\x01\x07\x01\x60\x02\x7f\x7f\x01\x7f\x03\x02\x01\x00\x07\x07\x01\x03add\x00\x00\x0a\x09\x01\x07\x00\x20\x00\x20\x01\x6a\x0b")

func main() {
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
	defer r.Close(ctx)
	m, err := r.Instantiate(ctx, add)
	if err != nil {
		log.Fatal(err)
	}
	sum, err := m.ExportedFunction("add").Call(ctx, 40, 2)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(sum[0])
}
