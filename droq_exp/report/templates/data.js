// What the curves are made of: names in JSON, numbers as 32-bit floats in one base64 block (NaN: not measured).
const Data = (() => {
  const meta = JSON.parse(document.getElementById("curve-data").textContent);
  const holder = document.getElementById("curve-numbers");
  const binary = atob(holder.textContent);
  holder.remove();
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = binary.charCodeAt(i);

  // A column is [first number, how many].
  const column = ([start, count]) => new Float32Array(bytes.buffer, 4 * start, count);
  return { ...meta, column };
})();
