// What a bot does with the npm SDK 4.x: `node npm4.js ORIGIN SYMBOL`; prints one line of JSON per operation.
const { Alpaca, TimeFrame } = require("@alpacahq/alpaca-trade-api");
const [origin, symbol] = process.argv.slice(2);
const sockets = origin.replace("http", "ws");
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const report = (operation, error) => console.log(JSON.stringify({ operation, error: error ? String(error.message || error) : null }));
async function attempt(name, work) {
  try { const result = await work(); report(name); return result; } catch (error) { report(name, error); }
}
async function until(check, what) {
  for (const end = Date.now() + 60000; !(await check()); await sleep(100)) if (Date.now() > end) throw Error(`no ${what}`);
}
(async () => {
  const fetchApi = (url, init) => fetch(String(url).replace(/^https:\/\/[^/]+/, origin), init); // the facade has no base URL
  const alpaca = new Alpaca({ keyId: "key", secret: "secret", fetchApi });
  const updates = [], bars = [];
  const trading = alpaca.trading.stream({ url: `${sockets}/stream` });
  trading.onTradeUpdate((update) => updates.push(update));
  trading.onConnect(() => trading.subscribeTradeUpdates());
  trading.connect();
  const data = alpaca.marketData.stockStream({ feed: "iex", url: `${sockets}/v2/iex` });
  data.onBar((bar) => bars.push(bar));
  data.onConnect(() => data.subscribeForBars([symbol]));
  data.connect();
  await sleep(1500);
  await attempt("account.getAccount", () => alpaca.trading.account.getAccount());
  const order = await attempt("orders.market", () => alpaca.trading.orders.market({ symbol, qty: 3, side: "buy", clientOrderId: "mine" }));
  let rest = await attempt("orders.limit", () => alpaca.trading.orders.limit({ symbol, qty: 1, side: "buy", limitPrice: 1 }));
  await attempt("orders.bracket", () => alpaca.trading.orders.bracket({ symbol, qty: 1, side: "buy", type: "limit", limitPrice: 2, takeProfit: { limitPrice: 3 }, stopLoss: { stopPrice: 1 } }));
  await attempt("orders.getAllOrders", () => alpaca.trading.orders.getAllOrders({ status: "all", symbols: [symbol] }));
  await attempt("orders.deleteOrderByOrderID", () => alpaca.trading.orders.deleteOrderByOrderID({ orderId: rest.id }));
  await attempt("the order fills", () => until(async () => (await alpaca.trading.orders.getOrderByOrderID({ orderId: order.id })).filledAt, "fill"));
  await attempt("positions.getAllOpenPositions", () => alpaca.trading.positions.getAllOpenPositions());
  await attempt("closeAllPositions", () => alpaca.trading.closeAllPositions({ cancelOrders: true }));
  await attempt("the positions close", () => until(async () => !(await alpaca.trading.positions.getAllOpenPositions()).length, "close"));
  await attempt("submitAndWait", () => alpaca.trading.submitAndWait({ type: "market", symbol, qty: 1, side: "buy" }, { timeoutMs: 30000, stream: trading, url: `${sockets}/stream` }));
  await attempt("assets.getV2Assets", () => alpaca.trading.assets.getV2Assets());
  await attempt("watchlists.getWatchlists", () => alpaca.trading.watchlists.getWatchlists());
  await attempt("marketData.getLatestPrice", () => alpaca.marketData.getLatestPrice(symbol, { feed: "iex" }));
  await attempt("marketData.getStockBars", () => alpaca.marketData.getStockBars({ symbols: [symbol], timeframe: TimeFrame.Minute, feed: "iex", start: new Date("2018-03-26T13:30:00Z"), end: new Date("2018-03-26T14:30:00Z") }));
  await attempt("stream: a fill arrives", () => until(() => updates.some((one) => one.event === "fill"), "fill"));
  await attempt("stream: a bar arrives", () => until(() => bars.length, "bar"));
  process.exit(0);
})();
