// The app of examples/hello-c, in Rust: a library without main, and the functions of
// the host by their names.

#[link(wasm_import_module = "eos")]
extern "C" {
    fn reply(ptr: *const u8, len: usize) -> i32;
}

#[no_mangle]
pub extern "C" fn eos_alloc(len: usize) -> *mut u8 {
    Box::leak(vec![0u8; len].into_boxed_slice()).as_mut_ptr()
}

/// # Safety
/// The host names len bytes that eos_alloc has made.
#[export_name = "hello(name:string)string"]
pub unsafe extern "C" fn hello(ptr: *const u8, len: usize) {
    let name = String::from_utf8_lossy(std::slice::from_raw_parts(ptr, len));
    let name = if name.is_empty() { "world".into() } else { name };
    let text = format!("Hello, {}, from inside an enclave.", name);
    reply(text.as_ptr(), text.len());
}

#[export_name = "add(a:s32,b:s32)s32"]
pub extern "C" fn add(a: i32, b: i32) -> i32 {
    a.wrapping_add(b)
}
