/* The way to a Home Screen, for readers of an iPhone or iPad: only there it shows alerts.

   Few come to it, so it brings its words itself; a publisher's own texts (`data-texts`) go over
   them. */

import { element, outline } from "./look.js";

const WORDS = {
  ar: {
    home: "أضيفونا أولًا إلى الشاشة الرئيسية",
    homeWhy: "يعرض iPhone وiPad تنبيهات الموقع المضاف إلى الشاشة الرئيسية. يتطلب ذلك iOS 16.4 أو أحدث.",
    homeShare: "اضغطوا «مشاركة»",
    homeAdd: "اختاروا «إضافة إلى الشاشة الرئيسية»",
    homeOpen: "افتحوه من هناك واختاروا تنبيهاتكم",
  },
  de: {
    home: "Zuerst auf den Home-Bildschirm",
    homeWhy: "iPhone und iPad zeigen Meldungen einer Website, die auf dem Home-Bildschirm liegt. Dafür braucht es iOS 16.4 oder neuer.",
    homeShare: "Auf „Teilen“ tippen",
    homeAdd: "„Zum Home-Bildschirm“ wählen",
    homeOpen: "Von dort öffnen und Meldungen wählen",
  },
  en: {
    home: "First add us to your Home Screen",
    homeWhy: "An iPhone or iPad shows alerts of a site that is on its Home Screen. It takes iOS 16.4 or later.",
    homeShare: "Press Share",
    homeAdd: "Choose “Add to Home Screen”",
    homeOpen: "Open it from there and choose your alerts",
  },
  es: {
    home: "Primero, añádanos a su pantalla de inicio",
    homeWhy: "El iPhone y el iPad muestran los avisos de un sitio que está en su pantalla de inicio. Hace falta iOS 16.4 o posterior.",
    homeShare: "Pulse Compartir",
    homeAdd: "Elija «Añadir a pantalla de inicio»",
    homeOpen: "Ábralo desde allí y elija sus avisos",
  },
  fr: {
    home: "Ajoutez-nous d’abord à votre écran d’accueil",
    homeWhy: "L’iPhone et l’iPad montrent les alertes d’un site qui est sur leur écran d’accueil. Il faut iOS 16.4 ou une version ultérieure.",
    homeShare: "Touchez Partager",
    homeAdd: "Choisissez « Sur l’écran d’accueil »",
    homeOpen: "Ouvrez-le de là et choisissez vos alertes",
  },
  ru: {
    home: "Сначала добавьте нас на экран «Домой»",
    homeWhy: "iPhone и iPad показывают уведомления сайта с экрана «Домой». Нужна iOS 16.4.",
    homeShare: "Нажмите «Поделиться»",
    homeAdd: "Выберите «На экран „Домой“»",
    homeOpen: "Откройте сайт оттуда и выберите уведомления",
  },
};

// Apple's sign for sharing.
const SHARE = ["M8 10H5v11h14V10h-3M12 15V3m-4 4 4-4 4 4"];

/** Show how to get there. */
export function showHomeScreen(panel) {
  const t = { ...WORDS[panel.t.lang], ...panel.t };
  const share = element("li", {}, t.homeShare, outline(...SHARE));
  const steps = element("ol", {}, share, element("li", {}, t.homeAdd), element("li", {}, t.homeOpen));
  const closing = element("p", { class: "choices" }, ...panel.closing());
  panel.show({ paper: "", heading: t.home }, element("p", {}, t.homeWhy), steps, closing);
}
