// What a bot does with the npm SDK 3.x: `node npm3.js ORIGIN SYMBOL`; prints one line of JSON per operation.
const Alpaca = require("@alpacahq/alpaca-trade-api");
const [origin, symbol] = process.argv.slice(2);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const report = (operation, error) => console.log(JSON.stringify({ operation, error: error ? String(error.message || error) : null }));
async function attempt(name, work) {
  try { const result = await work(); report(name); return result; } catch (error) { report(name, error); }
}
async function until(check, what) {
  for (const end = Date.now() + 60000; !(await check()); await sleep(100)) if (Date.now() > end) throw Error(`no ${what}`);
}
(async () => {
  const alpaca = new Alpaca({ keyId: "key", secretKey: "secret", baseUrl: origin, dataBaseUrl: origin, dataStreamUrl: origin });
  const updates = [], bars = [], trading = alpaca.trade_ws, data = alpaca.data_stream_v2;
  data.session.url = data.session.url.replace("wss", "ws"); // the SDK makes wss of any scheme
  trading.onConnect(() => trading.subscribe(["trade_updates"]));
  trading.onOrderUpdate((update) => updates.push(update));
  trading.connect();
  data.onConnect(() => data.subscribeForBars([symbol]));
  data.onStockBar((bar) => bars.push(bar));
  data.connect();
  await sleep(1500);
  await attempt("getAccount", () => alpaca.getAccount());
  const clock = await attempt("getClock", () => alpaca.getClock());
  await attempt("getCalendar", () => alpaca.getCalendar({ start: clock.timestamp.slice(0, 10), end: clock.timestamp.slice(0, 10) }));
  await attempt("getAssets", () => alpaca.getAssets({ status: "active" }));
  await attempt("getAsset", () => alpaca.getAsset(symbol));
  const order = await attempt("createOrder market", () => alpaca.createOrder({ symbol, qty: 3, side: "buy", type: "market", time_in_force: "day" }));
  let rest = await attempt("createOrder limit", () => alpaca.createOrder({ symbol, qty: 1, side: "buy", type: "limit", time_in_force: "day", limit_price: 1 }));
  rest = await attempt("replaceOrder", () => alpaca.replaceOrder(rest.id, { limit_price: "1.5" }));
  await attempt("getOrders", () => alpaca.getOrders({ status: "all", limit: 10 }));
  await attempt("cancelOrder", () => alpaca.cancelOrder(rest.id));
  await attempt("getOrderByClientId", () => alpaca.getOrderByClientId(order.client_order_id));
  await attempt("the order fills", () => until(async () => (await alpaca.getOrder(order.id)).filled_at, "fill"));
  await attempt("getPositions", () => alpaca.getPositions());
  await attempt("getPosition", () => alpaca.getPosition(symbol));
  await attempt("getPortfolioHistory", () => alpaca.getPortfolioHistory({ period: "1D", timeframe: "5Min" }));
  await attempt("getAccountActivities", () => alpaca.getAccountActivities({ activityTypes: "FILL" }));
  await attempt("closePosition", () => alpaca.closePosition(symbol));
  await attempt("cancelAllOrders", () => alpaca.cancelAllOrders());
  const watchlist = await attempt("addWatchlist", () => alpaca.addWatchlist("mine", [symbol]));
  await attempt("getWatchlists", () => alpaca.getWatchlists());
  await attempt("updateWatchlist", () => alpaca.updateWatchlist(watchlist.id, { name: "yours", symbols: [] }));
  await attempt("deleteWatchlist", () => alpaca.deleteWatchlist(watchlist.id));
  const start = new Date(Date.parse(clock.timestamp) - 3600000).toISOString();
  await attempt("getBarsV2", async () => {
    const found = [];
    for await (const bar of alpaca.getBarsV2(symbol, { start, timeframe: "1Min", feed: "iex" })) found.push(bar);
    if (!found.length) throw Error("no bars");
  });
  await attempt("getLatestQuote", () => alpaca.getLatestQuote(symbol));
  await attempt("getSnapshot", () => alpaca.getSnapshot(symbol));
  await attempt("stream: a fill arrives", () => until(() => updates.some((one) => one.event === "fill"), "fill"));
  await attempt("stream: a bar arrives", () => until(() => bars.length, "bar"));
  process.exit(0);
})();
