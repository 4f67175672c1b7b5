// The page of `rnnt export --format web`.
import { openPage } from "../main.js";
import { Local } from "./local.js";

openPage(new Local());
