// Every function of the host once, as all.c and all-go have it too: the three must give
// the same answer.
import * as eos from "../../../sdk/assemblyscript/index";
export { eos_alloc } from "../../../sdk/assemblyscript/index";

function b(text: string): ArrayBuffer {
	return String.UTF8.encode(text);
}

function hex(bytes: ArrayBuffer | null): string {
	if (bytes == null) return "";
	const view = Uint8Array.wrap(bytes);
	let text = "";
	for (let i = 0; i < view.length; i++) text += (view[i] < 16 ? "0" : "") + view[i].toString(16);
	return text;
}

// code is what the host answered to a call that gives no number.
function code(ok: bool): string {
	return ok ? "0" : eos.lastError.toString();
}

function bit(yes: bool): string {
	return yes ? "1" : "0";
}

function str(bytes: ArrayBuffer | null): string {
	return bytes == null ? "" : String.UTF8.decode(bytes);
}

//eos:export all(url:string)string
export function all(ptr: usize, length: i32): void {
	const url = eos.text(ptr, length);
	const out: string[] = [];
	out.push("digest " + hex(eos.digest(eos.Hash.SHA384, b("abc"))));
	out.push("has " + bit(eos.hasKey("k")));
	out.push("generate " + code(eos.generateKey(eos.KeyKind.AES256, "k")) + " " + code(eos.generateKey(eos.KeyKind.AES256, "k")));
	out.push("has " + bit(eos.hasKey("k")));
	const sealed = eos.encrypt("k", b("aad"), b("data"))!;
	out.push("encrypt " + sealed.byteLength.toString() + " " + str(eos.decrypt("k", b("aad"), sealed)));
	out.push("decrypt " + code(eos.decrypt("k", b("other"), sealed) != null));
	out.push("generate " + code(eos.generateKey(eos.KeyKind.ECDSAP256, "s")));
	const signature = eos.sign("s", b("data"))!;
	out.push("verify " + bit(eos.verify("s", b("data"), signature)) + " " + bit(eos.verify("s", b("other"), signature)));
	out.push("public " + eos.publicKey("s")!.byteLength.toString());
	out.push("import " + code(eos.importKey(eos.KeyKind.HMAC, "h", new ArrayBuffer(32))));
	const tag = eos.hmac(eos.Hash.SHA256, "h", b("data"))!;
	out.push("hmac " + hex(tag));
	const good = eos.verifyHMAC(eos.Hash.SHA256, "h", b("data"), tag);
	Uint8Array.wrap(tag)[0] ^= 1;
	out.push("verify " + bit(good) + " " + bit(eos.verifyHMAC(eos.Hash.SHA256, "h", b("data"), tag)));
	out.push("delete " + bit(eos.deleteKey("k")) + " " + bit(eos.deleteKey("k")));

	const random = eos.random(32);
	out.push("random " + code(random != null) + " " + bit(hex(random) != "0".repeat(64)));
	out.push("seal " + hex(eos.sealKey()));
	out.push("caller " + eos.caller());

	out.push("put " + code(eos.put("a/1", b("one"))));
	out.push("put " + code(eos.put("a/2", b("two"))));
	const two = str(eos.get("a/2"));
	out.push("get " + two + " " + code(eos.get("none") != null));
	const keys = eos.list("a/", "a/1", 0);
	out.push("list " + (4 + keys[0].length).toString() + " " + keys.join(" "));
	out.push("delete " + bit(eos.remove("a/1")) + " " + bit(eos.remove("a/1")));

	out.push("extension " + code(eos.setExtension(7, b("said"))));
	const answer = eos.fetch("POST", url, ["X-One: 1", "X-Two: 2"], b("body"))!;
	out.push("fetch " + answer.status.toString() + " " + str(answer.body));
	out.push("header " + bit(answer.headers.includes("X-Answer: yes")));
	out.push("fetch " + code(eos.fetch("GET", "https://elsewhere.example/", [], new ArrayBuffer(0)) != null));
	eos.log(4, "a line of all");
	eos.reply(out.join("\n") + "\n");
}

//eos:export refuse()string
export function refuse(): void {
	eos.fail("not today");
}
